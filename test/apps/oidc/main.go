// Oidc is an OpenID Connect provider, the one of github.com/zitadel/oidc, for browsers that are in a hurry: whoever comes
// to its page to sign in with the header x-user is signed in as that user at once, and without it sees the page.
//
// ISSUER is the address under which browsers find it. CLIENTS are "<id> <secret> <redirect URI>…", and a comma between
// two. LIFETIME is how long access tokens live, JWT=true makes JWTs of them. It answers in plain HTTP on port 8080, and in
// TLS on 8443 where CERTIFICATE is a directory with tls.crt and tls.key.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, ":8080"); err != nil {
		fmt.Fprintln(os.Stderr, "oidc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, env func(string) string, address string) error {
	handler, err := provider(env)
	if err != nil {
		return err
	}
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 2)
	go func() { served <- server.ListenAndServe() }()
	if dir := env("CERTIFICATE"); dir != "" {
		secure, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":8443")
		if err != nil {
			return errors.Join(err, server.Close())
		}
		go func() {
			served <- server.ServeTLS(secure, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		}()
	}
	select {
	case err := <-served:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
		return server.Close()
	}
}

// provider makes the handler of everything.
func provider(env func(string) string) (http.Handler, error) {
	issuer := env("ISSUER")
	lifetime := 5 * time.Minute
	if s := env("LIFETIME"); s != "" {
		var err error
		if lifetime, err = time.ParseDuration(s); err != nil {
			return nil, fmt.Errorf("LIFETIME: %w", err)
		}
	}
	clients, err := readClients(env("CLIENTS"))
	if err != nil {
		return nil, err
	}
	s := &store{Storage: storage.NewStorageWithClients(users{}, clients), lifetime: lifetime, jwt: env("JWT") == "true"}
	p, err := op.NewProvider(&op.Config{
		CodeMethodS256: true, AuthMethodPost: true, GrantTypeRefreshToken: true, SupportedUILocales: []language.Tag{language.English},
	}, s, op.StaticIssuer(issuer), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return nil, fmt.Errorf("make the provider %q: %w", issuer, err)
	}
	mux := http.NewServeMux()
	issued := op.NewIssuerInterceptor(p.IssuerFromRequest)
	mux.Handle("/login/username", issued.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, id := r.Header.Get("X-User"), r.FormValue("authRequestID")
		if user == "" {
			fmt.Fprintln(w, "Who are you? Say it in the header x-user.")
			return
		}
		if err := s.CheckUsernamePassword(user, user, id); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, op.AuthCallbackURL(p)(r.Context(), id), http.StatusFound)
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	mux.Handle("/", p)
	return mux, nil
}

// readClients reads "<id> <secret> <redirect URI>…, …".
func readClients(text string) (map[string]*storage.Client, error) {
	out := map[string]*storage.Client{}
	for c := range strings.SplitSeq(text, ",") {
		f := strings.Fields(c)
		if len(f) < 3 {
			return nil, fmt.Errorf("CLIENTS: %q is not \"<id> <secret> <redirect URI>…\"", strings.TrimSpace(c))
		}
		out[f[0]] = storage.WebClient(f[0], f[1], f[2:]...)
	}
	return out, nil
}

// users are all that anybody wants to be: the password of each is the name.
type users struct{}

func (users) GetUserByUsername(name string) *storage.User {
	return &storage.User{ID: name, Username: name, Password: name, FirstName: name, Email: name + "@users.test", EmailVerified: true}
}

func (u users) GetUserByID(id string) *storage.User { return u.GetUserByUsername(id) }
func (users) ExampleClientID() string               { return "" }

// store is the library's own in memory, with a lifetime and a form of access tokens that can be chosen.
type store struct {
	*storage.Storage
	lifetime time.Duration
	jwt      bool
}

func (s *store) CreateAccessToken(ctx context.Context, r op.TokenRequest) (string, time.Time, error) {
	id, _, err := s.Storage.CreateAccessToken(ctx, r)
	return id, time.Now().Add(s.lifetime), err
}

func (s *store) CreateAccessAndRefreshTokens(ctx context.Context, r op.TokenRequest, current string) (string, string, time.Time, error) {
	access, refresh, _, err := s.Storage.CreateAccessAndRefreshTokens(ctx, r, current)
	return access, refresh, time.Now().Add(s.lifetime), err
}

func (s *store) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	c, err := s.Storage.GetClientByClientID(ctx, id)
	if err != nil {
		return nil, err
	}
	return &client{Client: c, jwt: s.jwt, lifetime: s.lifetime}, nil
}

// client has tokens as they are chosen.
type client struct {
	op.Client
	jwt      bool
	lifetime time.Duration
}

func (c *client) IDTokenLifetime() time.Duration { return c.lifetime }

func (c *client) AccessTokenType() op.AccessTokenType {
	if c.jwt {
		return op.AccessTokenTypeJWT
	}
	return op.AccessTokenTypeBearer
}
