// Package app is what the small applications of the tests share: who they are and how they serve.
package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// Identity says which replica answers.
type Identity struct {
	App       string `json:"app"`
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Version   string `json:"version"`
}

// IdentityFrom reads APP, CLUSTER, NAMESPACE, POD and VERSION.
func IdentityFrom(env func(string) string) Identity {
	return Identity{App: env("APP"), Cluster: env("CLUSTER"), Namespace: env("NAMESPACE"), Pod: env("POD"), Version: env("VERSION")}
}

// linger is how long a replica goes on answering after it was told to stop: the endpoints that point to it are
// removed at the same moment, not before.
const linger = time.Second

// Serve serves h on port 8080, over HTTP 1.1 and 2, and on 8443 if there is a certificate in $CERTIFICATE, a directory
// with tls.crt and tls.key, until ctx ends. Then requests in flight finish.
// Where $CLIENTS names a file with an authority, only clients with a certificate of it are heard on 8443.
func Serve(ctx context.Context, env func(string) string, h http.Handler) error {
	plain, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(env("ADDRESS"), ":8080"))
	if err != nil {
		return err
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error, 2)
	go func() { served <- s.Serve(plain) }()
	if dir := env("CERTIFICATE"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, "tls.crt")); err == nil {
			secure, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(env("TLS_ADDRESS"), ":8443"))
			if err != nil {
				return errors.Join(err, s.Close())
			}
			if s.TLSConfig, err = knownClients(env("CLIENTS")); err != nil {
				return errors.Join(err, secure.Close(), s.Close())
			}
			go func() { served <- s.ServeTLS(secure, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")) }()
		}
	}
	select {
	case err := <-served:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
	}
	time.Sleep(linger)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return s.Shutdown(stop)
}

// knownClients asks for certificates of the authority in a file; without a file nobody is asked.
func knownClients(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool()}
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return c, nil
}
