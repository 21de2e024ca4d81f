package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

const (
	// proxiesEvery is how often istiod is asked.
	proxiesEvery = 3 * time.Second
	// proxiesAfter is how long after a write: istiod waits for more for a tenth of a second, and Envoy answers in less.
	proxiesAfter = time.Second
)

// proxyState is what counts of an entry of istiod's /debug/syncz.
type proxyState struct {
	Proxy     string `json:"proxy"` // "<pod>.<namespace>"
	Resources map[string]struct {
		LastError string `json:"lastError"`
	} `json:"resources"`
}

// asker asks an istiod, by its address, what it knows of its proxies.
type asker func(context.Context, string) ([]byte, error)

// askProxies asks every istiod what the gateways connected to it refuse, every few seconds and a moment after something was
// written, until ctx ends. An istiod that does not answer leaves what is known as it is.
// extensions are those of a namespace, as a digest.
func (o *observer) askProxies(ctx context.Context, ask asker, written <-chan struct{}, extensions func(string) string, log *slog.Logger) error {
	if err := o.wait(ctx); err != nil {
		return err
	}
	silent := false
	for {
		rejected, err := o.rejections(ctx, ask)
		if err != nil && !silent {
			log.WarnContext(ctx, "istiod does not say what proxies refuse", "error", err)
		}
		if silent = err != nil; !silent {
			o.setRejected(rejected, extensions)
		}
		wait := time.After(proxiesEvery)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-written:
			wait = time.After(proxiesAfter)
		case <-wait:
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
}

// rejections are what istiod knows that gateways refuse.
func (o *observer) rejections(ctx context.Context, ask asker) (refusals, error) {
	out := refusals{}
	if !o.hasGateways() {
		return out, nil
	}
	for _, obj := range o.pods.GetStore().List() {
		i, ok := obj.(*item)
		if !ok || i.istiod == "" || i.Namespace != o.istio {
			continue
		}
		body, err := ask(ctx, i.istiod)
		if err != nil {
			return nil, err
		}
		if err := readProxies(bytes.NewReader(body), out); err != nil {
			return nil, fmt.Errorf("istiod %s: %w", i.Name, err)
		}
	}
	return out, nil
}

// readProxies reads one proxy after the other: there may be thousands.
func readProxies(r io.Reader, into refusals) error {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return fmt.Errorf("the answer is no list of proxies: %v (%w)", t, err)
	}
	for d.More() {
		var p proxyState
		if err := d.Decode(&p); err != nil {
			return fmt.Errorf("read the state of a proxy: %w", err)
		}
		pod, namespace, _ := strings.Cut(p.Proxy, ".")
		words := map[string]string{}
		for kind, r := range p.Resources {
			words[kind] = r.LastError
		}
		into.add(namespace+"/"+pod, words)
	}
	return nil
}

func (o *observer) hasGateways() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, keys := range o.gateways {
		if len(keys) > 0 {
			return true
		}
	}
	return false
}

// setRejected marks the workloads of which something else is known now.
func (o *observer) setRejected(now refusals, extensions func(string) string) {
	o.mu.Lock()
	was := o.rejected
	o.mu.Unlock()
	now.remember(was, extensions, func(pod string) bool {
		_, there, err := o.pods.GetStore().GetByKey(pod)
		return err == nil && there
	})
	o.mu.Lock()
	o.rejected = now
	o.mu.Unlock()
	for _, pods := range []refusals{was, now} {
		for key := range pods {
			if was[key].String() == now[key].String() {
				continue
			}
			obj, _, _ := o.pods.GetStore().GetByKey(key)
			if i, ok := obj.(*item); ok && i.pod != nil {
				o.lookAgain("workload/" + i.Namespace + "/" + i.pod.workload)
			}
		}
	}
}

func (o *observer) refusal(pod string) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rejected[pod].String()
}

// istiods is how istiod is asked: over its TLS port, like proxies do, because the token of the edge must not be read by
// others on the way.
type istiods struct {
	tokenFile, server string
	// namespace of the edge, which istiod compares with that of the token.
	namespace string
	port      uint16
	// roots is the mesh's root certificate as PEM, nil while it is not known.
	roots func() []byte
	// signed is told under which root certificate istiod has its own.
	signed func(fingerprint string)
}

// ask one istiod by the address of its pod for what it knows of the proxies connected to it, as JSON.
func (a *istiods) ask(ctx context.Context, address string) ([]byte, error) {
	token, err := os.ReadFile(a.tokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the token for istiod: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.roots()) {
		return nil, errors.New("the mesh's root certificate is not known")
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		RootCAs: roots, ServerName: a.server, MinVersion: tls.VersionTLS12,
		VerifyConnection: func(s tls.ConnectionState) error {
			chain := s.VerifiedChains[0]
			a.signed(fingerprint(chain[len(chain)-1].Raw))
			return nil
		},
	}}
	defer tr.CloseIdleConnections()
	client := connect.NewClient[isthmusv1.DiscoveryRequest, isthmusv1.DiscoveryResponse](&http.Client{Transport: tr},
		"https://"+net.JoinHostPort(address, itoa(int64(a.port)))+"/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
		connect.WithGRPC(), connect.WithReadMaxBytes(64<<20))
	stream := client.CallBidiStream(ctx)
	stream.RequestHeader().Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	err = stream.Send(&isthmusv1.DiscoveryRequest{
		Node: &isthmusv1.DiscoveryRequest_Node{
			Id: "sidecar~127.0.0.1~isthmus-edge." + a.namespace + "~" + a.namespace + ".svc.cluster.local",
			// Without a version istiod complains each time. One that is no number is the same to it as none.
			Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{"ISTIO_VERSION": structpb.NewStringValue("isthmus")}},
		},
		TypeUrl: "istio.io/debug", ResourceNames: []string{"syncz"},
	})
	if err != nil && !errors.Is(err, io.EOF) { // EOF: what went wrong is said to who receives
		return nil, fmt.Errorf("ask istiod at %s: %w", address, err)
	}
	answer, err := stream.Receive()
	if err != nil {
		return nil, fmt.Errorf("ask istiod at %s: %w", address, err)
	}
	cancel() // nothing more is wanted of the stream
	_ = stream.CloseRequest()
	_ = stream.CloseResponse()
	if len(answer.GetResources()) != 1 {
		return nil, fmt.Errorf("istiod at %s gives %d answers to one question", address, len(answer.GetResources()))
	}
	return answer.GetResources()[0].GetValue(), nil
}
