package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
)

// runServer runs the whole server as cmd/server does, and returns its address and how to stop it.
func runServer(t *testing.T, change func(*Options)) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listening, done := make(chan net.Addr, 1), make(chan error, 1)
	o := Options{
		DataDir: t.TempDir(), Listen: "127.0.0.1:0", Organization: "o", Password: adminPassword, Grace: 5 * time.Second,
		Stdout: os.Stderr, Log: slog.New(slog.DiscardHandler), Listening: func(a net.Addr) { listening <- a },
	}
	change(&o)
	go func() { done <- Run(ctx, o) }()
	t.Cleanup(cancel)
	select {
	case a := <-listening:
		return a.String(), func() error { cancel(); return <-done }
	case err := <-done:
		t.Fatal(err)
		return "", nil
	}
}

func trusting(t *testing.T, caFile string) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// A watcher sees what is committed, and is told when the server goes down.
func TestWatch(t *testing.T) {
	var dir string
	addr, stop := runServer(t, func(o *Options) { dir = o.DataDir })
	d := &door{client: trusting(t, filepath.Join(dir, "ca.crt"))}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := isthmusv1connect.NewResourcesClient(d.basic(adminName, adminPassword), "https://"+addr, connect.WithGRPC())
	head, err := c.List(ctx, &isthmusv1.ListRequest{Parent: "organizations/o"})
	if err != nil {
		t.Fatal(err)
	}
	watch, err := c.Watch(ctx, &isthmusv1.WatchRequest{Fqn: "organizations/o/tenants/t", After: head.GetRevision()})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"other", "t"} {
		_, err := c.Apply(ctx, &isthmusv1.ApplyRequest{Resources: []*isthmusv1.Resource{
			{Kind: "api.tsb.tetrate.io/v2/Tenant", Fqn: "organizations/o/tenants/" + name},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !watch.Receive() {
		t.Fatal(watch.Err())
	}
	if ch := watch.Msg().GetChanges(); len(ch) != 1 || ch[0].GetFqn() != "organizations/o/tenants/t" || ch[0].GetOperation() != "CREATE" {
		t.Errorf("the watcher sees %v, want the creation of tenant t alone", ch)
	}
	start := time.Now()
	if err := stop(); err != nil {
		t.Errorf("the server ends with %v", err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("an open watch holds the server up for %v", took)
	}
	if watch.Receive() || connect.CodeOf(watch.Err()) != connect.CodeUnavailable {
		t.Errorf("the watch ends with %v, want unavailable", watch.Err())
	}
}

// A certificate of somebody else is used when there is one, and no CA is written.
func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	caCert, caKey, err := newCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	i, err := newIssuer(caCert, caKey, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := i.issue("localhost")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"ca.pem":   caCert,
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var data string
	addr, stop := runServer(t, func(o *Options) {
		data, o.CertFile, o.KeyFile = o.DataDir, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	})
	defer stop()
	res, err := trusting(t, filepath.Join(dir, "ca.pem")).Get("https://" + addr + "/v2/version")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if _, err := os.Stat(filepath.Join(data, "ca.crt")); err == nil {
		t.Error("the certificate of a CA that is not used is written")
	}
}

// A request above the limit is refused with the limit, through every door.
func TestRequestLimit(t *testing.T) {
	d := openDoor(t)
	admin := d.basic(adminName, adminPassword)
	huge := `{"name":"t","tenant":{"description":"` + strings.Repeat("x", maxRequest) + `"}}`
	for _, path := range []string{"/v2/organizations/o/tenants", "/isthmus.v1.Resources/Apply"} {
		status, text := d.request(t, admin, http.MethodPost, path, huge)
		if status != http.StatusTooManyRequests || !strings.Contains(text, "20971520") {
			t.Errorf("%s answers %d %.200s, want 429 and the limit", path, status, text)
		}
	}
}
