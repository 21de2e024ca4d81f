package edge

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"isthmus.dev/isthmus/internal/apply"
	"isthmus.dev/isthmus/internal/installer"
	"isthmus.dev/isthmus/internal/wellknown"
)

const (
	// signInGiven is on the Secret that gateways mount, and says whose the files are, as JSON.
	signInGiven = "isthmus.dev/clients"
	// signInEvery is how often everything is looked at without an event.
	signInEvery = 10 * time.Minute
)

// clientKeys are where the secret of a client is looked for in a Secret, in this order. A Secret with one key needs none of
// them.
var clientKeys = []string{"client-secret", "clientSecret", "client_secret", "token", "istio_generic_secret"}

// clientSecret finds the secret of a client, or says why there is none.
func clientSecret(data map[string][]byte) (secret, problem string) {
	key := ""
	for _, k := range clientKeys {
		if _, ok := data[k]; ok && key == "" {
			key = k
		}
	}
	switch {
	case key != "":
	case len(data) == 1:
		for k := range data {
			key = k
		}
	case len(data) == 0:
		return "", "it is empty"
	default:
		return "", fmt.Sprintf("it has %d keys and none of them is client-secret", len(data))
	}
	switch text := strings.TrimRight(string(data[key]), "\r\n"); { // files end with a new line
	case text == "":
		return "", key + " is empty"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return "", key + " has characters that the secret of a client cannot have"
	default:
		return text, ""
	}
}

// cookieKey is what the cookies of a host are signed and encrypted with. It comes from the secret and the host alone, so that
// whoever signed in is known to the gateways of other clusters that are the same client, and to no other host: Envoy binds
// all cookies to the host but the one with the refresh token, which would open each host with the same key.
func cookieKey(secret, host string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	_, _ = h.Write([]byte("isthmus.dev: cookies of " + host)) // never fails
	return h.Sum(nil)
}

// keeper gives the gateways that the installer made the secrets of clients. They never leave the cluster: only which
// files they are in does.
type keeper struct {
	client dynamic.Interface
	log    *slog.Logger
	wake   chan struct{}
	// told of a Secret, as "<namespace>/<name>", whose files are others now.
	told func(string)
	// installed are the namespaces with gateways of the installer.
	installed func() map[string]bool
	made      cache.SharedIndexInformer

	mu     sync.Mutex
	wanted map[string][]string          // "<Secret>/<host>" by namespace; nil while it is not known
	given  map[string]map[string]string // names of files by host, by "<namespace>/<name>" of the Secret

	// last is whose the files of a namespace were. A Secret that is made again gives them to the same: pods see the former
	// for another minute. Only passes touch it.
	last map[string]map[string]client
}

func newKeeper(cluster dynamic.Interface, log *slog.Logger, installed func() map[string]bool, told func(string)) *keeper {
	k := &keeper{client: cluster, log: log, wake: make(chan struct{}, 1), told: told, installed: installed, given: map[string]map[string]string{}, last: map[string]map[string]client{}}
	k.made = apply.NewInformer(cluster, secretsResource, apply.Scope{Fields: "type=" + installer.SignInType}, func(u *unstructured.Unstructured) any { return signInItem(u) })
	_, _ = k.made.AddEventHandler(cache.ResourceEventHandlerFuncs{ // errors only after the stop
		AddFunc: func(any) { poke(k.wake) }, UpdateFunc: func(_, _ any) { poke(k.wake) }, DeleteFunc: func(any) { poke(k.wake) },
	})
	return k
}

var secretsResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// client is whose a pair of files is, as "<Secret>/<host>". Without an Owner they are nobody's, and Former was the last.
type client struct {
	Owner  string `json:"owner,omitempty"`
	Former string `json:"former,omitempty"`
}

// mounted is what is kept of the Secret of a namespace: whose its files are, and what they are, in digests.
type mounted struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	ours    bool
	clients map[string]client
	files   map[string][sha256.Size]byte
}

func signInItem(u *unstructured.Unstructured) *mounted {
	m := &mounted{
		ObjectMeta: metav1.ObjectMeta{Name: u.GetName(), Namespace: u.GetNamespace(), ResourceVersion: u.GetResourceVersion()},
		ours:       u.GetLabels()[apply.ManagedByLabel] == apply.ManagedBy,
		clients:    map[string]client{}, files: map[string][sha256.Size]byte{},
	}
	_ = json.Unmarshal([]byte(u.GetAnnotations()[signInGiven]), &m.clients) // what somebody spoilt is written anew
	data, _, _ := unstructured.NestedStringMap(u.Object, "data")
	for name, text := range data {
		m.files[name] = sha256.Sum256([]byte(text))
	}
	return m
}

// want takes from a bundle which Secrets its guards need. nil is not known.
func (k *keeper) want(b *apply.Bundle) {
	if b == nil {
		return
	}
	wanted := map[string][]string{}
	for id, o := range b.Objects {
		ref, err := id.Ref()
		if err != nil || ref.Kind != "EnvoyFilter" || !bytes.Contains(o.JSON, []byte(wellknown.SignInAnnotation)) {
			continue
		}
		var guard metav1.PartialObjectMetadata
		if json.Unmarshal(o.JSON, &guard) == nil {
			wanted[ref.Namespace] = append(wanted[ref.Namespace], strings.Split(guard.Annotations[wellknown.SignInAnnotation], ",")...)
		}
	}
	for ns, names := range wanted {
		slices.Sort(names)
		wanted[ns] = slices.Compact(names)
	}
	k.mu.Lock()
	k.wanted = wanted
	k.mu.Unlock()
	poke(k.wake)
}

// changed is told of a Secret that users made or changed.
func (k *keeper) changed(namespace, name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.ContainsFunc(k.wanted[namespace], func(w string) bool { return strings.HasPrefix(w, name+"/") }) {
		poke(k.wake)
	}
}

// files with which gateways can use a Secret, by host; an empty name is that of a host for which there was no room.
func (k *keeper) files(secret string) map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.given[secret]
}

// run until ctx ends. ready says when installed can be relied on.
func (k *keeper) run(ctx context.Context, ready func(context.Context) error) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { k.made.RunWithContext(ctx) })
	if err := ready(ctx); err != nil {
		return err
	}
	if !cache.WaitForCacheSync(ctx.Done(), k.made.HasSynced) {
		return ctx.Err()
	}
	for {
		again := signInEvery
		if err := k.pass(ctx); err != nil && ctx.Err() == nil {
			k.log.WarnContext(ctx, "gateways do not get the secrets of clients; it is tried again", "error", err)
			again = 5 * time.Second
		}
		timer := time.NewTimer(again)
		select {
		case <-k.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// pass looks after every namespace once.
func (k *keeper) pass(ctx context.Context) error {
	k.mu.Lock()
	wanted := k.wanted
	k.mu.Unlock()
	made := map[string]*mounted{}
	for _, obj := range k.made.GetStore().List() {
		if m, ok := obj.(*mounted); ok && m.Name == installer.SignInSecret {
			made[m.Namespace] = m
		}
	}
	installed := k.installed()
	namespaces := maps.Clone(installed)
	for ns := range made {
		namespaces[ns] = true
	}
	given := map[string]map[string]string{}
	var first error
	for _, ns := range slices.Sorted(maps.Keys(namespaces)) {
		clients, err := k.namespace(ctx, ns, made[ns], installed[ns], wanted)
		first = cmp.Or(first, err)
		give(given, ns, clients, wanted[ns])
	}
	k.mu.Lock()
	before := k.given
	k.given = given
	k.mu.Unlock()
	for _, m := range []map[string]map[string]string{before, given} {
		for secret := range m {
			if !maps.Equal(before[secret], given[secret]) {
				k.told(secret)
			}
		}
	}
	return first
}

// give notes the names of the files of all who have some in a namespace, and an empty one for those who get none because
// there are no more.
func give(given map[string]map[string]string, ns string, clients map[string]client, wanted []string) {
	set := func(owner, file string) {
		name, host, _ := strings.Cut(owner, "/")
		if given[ns+"/"+name] == nil {
			given[ns+"/"+name] = map[string]string{}
		}
		given[ns+"/"+name][host] = file
	}
	files := map[string]string{}
	for file, c := range clients {
		if c.Owner != "" {
			files[c.Owner] = file
			set(c.Owner, file)
		}
	}
	if len(files) < installer.SignInClients {
		return
	}
	for _, owner := range wanted {
		if files[owner] == "" {
			set(owner, "")
		}
	}
}

// namespace makes the Secret of one namespace as it should be, and returns whose its files are.
func (k *keeper) namespace(ctx context.Context, ns string, m *mounted, installed bool, wanted map[string][]string) (map[string]client, error) {
	secrets := k.client.Resource(secretsResource).Namespace(ns)
	switch {
	case m == nil && !installed:
		return nil, nil
	case m == nil:
		return k.create(ctx, ns, wanted[ns])
	case !m.ours:
		return nil, fmt.Errorf("the Secret %s/%s is somebody else's", ns, installer.SignInSecret)
	case wanted == nil: // not knowing what is wanted is not wanting nothing
		return m.clients, nil
	case !installed && len(wanted[ns]) == 0:
		err := secrets.Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &m.ResourceVersion}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, fmt.Errorf("delete Secret %s/%s: %w", ns, m.Name, err)
		}
		delete(k.last, ns)
		return nil, nil
	}
	if len(m.clients) == 0 && len(k.last[ns]) > 0 {
		again := *m
		again.clients = k.last[ns]
		m = &again
	}
	k.last[ns] = m.clients
	clients, files, err := k.fill(ctx, ns, m, wanted[ns])
	if err != nil || len(files) == 0 && maps.Equal(clients, m.clients) {
		return m.clients, err
	}
	text, err := json.Marshal(clients)
	if err != nil {
		return m.clients, err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": m.ResourceVersion, "annotations": map[string]any{signInGiven: string(text)}},
		"data":     files,
	})
	if err != nil {
		return m.clients, err
	}
	if _, err := secrets.Patch(ctx, m.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager}); err != nil {
		return m.clients, fmt.Errorf("write Secret %s/%s: %w", ns, m.Name, err)
	}
	k.log.InfoContext(ctx, "secrets of clients given to gateways", "namespace", ns, "files", len(files))
	k.last[ns] = clients
	return clients, nil
}

// create makes the Secret of a namespace at once with what is wanted: a pod that starts now sees no other for a while.
func (k *keeper) create(ctx context.Context, ns string, wanted []string) (map[string]client, error) {
	u := installer.NewSignIn(ns)
	m := signInItem(u)
	if last := k.last[ns]; last != nil {
		m.clients = last
	}
	clients, files, err := k.fill(ctx, ns, m, wanted)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(clients)
	if err != nil {
		return nil, err
	}
	data, _, _ := unstructured.NestedMap(u.Object, "data")
	maps.Copy(data, files)
	u.Object["data"] = data
	u.SetAnnotations(map[string]string{signInGiven: string(text)})
	_, err = k.client.Resource(secretsResource).Namespace(ns).Create(ctx, u, metav1.CreateOptions{FieldManager: Manager})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, "NamespaceTerminating") { // it will be seen
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("make Secret %s/%s: %w", ns, installer.SignInSecret, err)
	}
	k.last[ns] = clients
	return clients, nil
}

// fill says whose the files should be, and which of them have to be written. A Secret that is gone or spoilt changes
// nothing: gateways go on with what they have until nobody wants it any more.
func (k *keeper) fill(ctx context.Context, ns string, m *mounted, wanted []string) (map[string]client, map[string]any, error) {
	clients, files := maps.Clone(m.clients), map[string]any{}
	for i := range installer.SignInClients {
		file := installer.SignInFile(i)
		c := clients[file]
		if c.Owner != "" && !slices.Contains(wanted, c.Owner) {
			clients[file] = client{Former: c.Owner}
			maps.Copy(files, installer.NoClient(file))
		} else if _, ok := m.files[file+"-secret.json"]; !ok { // somebody took it away
			maps.Copy(files, installer.NoClient(file))
		}
	}
	for _, owner := range wanted {
		name, host, _ := strings.Cut(owner, "/")
		u, err := k.client.Resource(secretsResource).Namespace(ns).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read Secret %s/%s: %w", ns, name, err)
		}
		secret, problem := clientSecret(secretData(u))
		file := place(clients, owner)
		if problem != "" || file == "" {
			continue
		}
		clients[file] = client{Owner: owner}
		for key, text := range installer.SignInFiles(file, secret, cookieKey(secret, host)) {
			if sum := sha256.Sum256([]byte(text.(string))); sum != m.files[key] || files[key] != nil {
				files[key] = text
			}
		}
	}
	return clients, files, nil
}

// place finds the files for an owner: those that it has or had, or else those that have been nobody's, or else those that
// are nobody's now. It is empty when all are taken. Pods may see the files of a former client for another minute, so that
// another one had better not get them.
func place(clients map[string]client, owner string) string {
	best, rank := "", 0
	for i := range installer.SignInClients {
		file := installer.SignInFile(i)
		c := clients[file]
		r := 1
		switch {
		case c.Owner == owner:
			r = 4
		case c.Owner != "":
			continue
		case c.Former == owner:
			r = 3
		case c.Former == "":
			r = 2
		}
		if r > rank {
			best, rank = file, r
		}
	}
	return best
}
