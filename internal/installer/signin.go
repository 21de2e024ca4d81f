package installer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"isthmus.dev/isthmus/internal/wellknown"
)

// The Secret through which gateways get the secrets of clients of OpenID Connect providers. There is one in each namespace
// with gateways, made before their pods and mounted by all of them: Envoy refuses a port for a file that is not there,
// and Kubernetes takes up to a minute to bring a new file to a pod. So all files are there from the start, with words that
// no provider knows, and get their meaning later.
const (
	SignInSecret = "isthmus-sign-in"
	SignInType   = "isthmus.dev/sign-in"
	// SignInClients is how many hosts of a namespace browsers can sign in for.
	SignInClients = 32
)

var secretsResource = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}

// SignInFile is the name of the files of the client with a number, as facts have it.
func SignInFile(client int) string { return fmt.Sprintf("client-%d", client) }

// SignInFiles are the two files of a client, as Envoy reads them, in base64: its secret, and the key with which cookies are
// signed.
func SignInFiles(file, secret string, key []byte) map[string]any {
	return map[string]any{
		file + "-secret.json":  document(file+"-secret", map[string]any{"inline_string": secret}),
		file + "-cookies.json": document(file+"-cookies", map[string]any{"inline_bytes": key}),
	}
}

func document(name string, source map[string]any) string {
	// What is made of text and bytes can be written as JSON.
	b, _ := json.Marshal(map[string]any{"resources": []any{map[string]any{
		"@type":          "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
		"name":           name,
		"generic_secret": map[string]any{"secret": source},
	}}})
	return base64.StdEncoding.EncodeToString(b)
}

// NoClient are the files of no client: nobody can sign in with them, and no cookie has ever been signed with them.
func NoClient(file string) map[string]any {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return SignInFiles(file, rand.Text(), key)
}

// NewSignIn is the Secret of a namespace, without a client.
func NewSignIn(namespace string) *unstructured.Unstructured {
	data := map[string]any{}
	for i := range SignInClients {
		for name, text := range NoClient(SignInFile(i)) {
			data[name] = text
		}
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": SignInType,
		"metadata": map[string]any{"name": SignInSecret, "namespace": namespace, "labels": map[string]any{labelManagedBy: managedBy}},
		"data":     data,
	}}
}

// prepare makes the Secret of a namespace before the first pods that mount it. The edge looks after it from then on.
func (in *Installer) prepare(ctx context.Context, namespace string) error {
	secrets := in.client.Resource(secretsResource).Namespace(namespace)
	_, err := secrets.Get(ctx, SignInSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, NewSignIn(namespace), metav1.CreateOptions{FieldManager: fieldManager})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !refusal(err) { // a namespace that goes gets nothing new
		return fmt.Errorf("make Secret %s/%s: %w", namespace, SignInSecret, err)
	}
	return nil
}

// signInVolume and signInVolumeMount are optional: a gateway without them serves whatever needs no signing in.
func signInVolume() map[string]any {
	return map[string]any{"name": SignInSecret, "secret": map[string]any{"secretName": SignInSecret, "optional": true}}
}

func signInVolumeMount() map[string]any {
	return map[string]any{"name": SignInSecret, "mountPath": wellknown.SignInMount, "readOnly": true}
}
