package server

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
	"isthmus.dev/isthmus/internal/version"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Options are what the command line says.
type Options struct {
	DataDir       string
	Listen        string
	Organization  string
	PasswordFile  string
	Password      string // instead of a file
	CertFile      string
	KeyFile       string
	Hosts         []string
	MetricsListen string
	Grace         time.Duration
	Without       map[wellknown.Order]bool

	Stdout io.Writer
	Log    *slog.Logger
	// Listening is called with the address once requests are taken; nil is nobody.
	Listening func(addr net.Addr)
}

// ParseFlags reads the command line of cmd/server. flag.ErrHelp means that the help was shown.
func ParseFlags(args []string, getenv func(string) string, stdout, stderr io.Writer) (Options, error) {
	o := Options{Stdout: stdout, Password: getenv("ISTHMUS_ADMIN_PASSWORD")}
	f := flag.NewFlagSet("server", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.DataDir, "data-dir", "", "directory that holds everything the server knows (required)")
	f.StringVar(&o.Listen, "listen", ":8443", "address of the API and of the edges")
	f.StringVar(&o.MetricsListen, "metrics-listen", "", "address of plain-text /metrics, /healthz and /readyz, for example :9443; empty has none")
	f.StringVar(&o.Organization, "organization", "tetrate", "organization that the first start creates")
	f.StringVar(&o.PasswordFile, "admin-password-file", "", "file with the password of the user admin ($ISTHMUS_ADMIN_PASSWORD); without one, the first start prints one")
	f.StringVar(&o.CertFile, "tls-cert", "", "certificate as PEM; without one, the server has its own CA, whose certificate is in DATA-DIR/ca.crt")
	f.StringVar(&o.KeyFile, "tls-key", "", "key of the certificate")
	f.DurationVar(&o.Grace, "grace", 10*time.Second, "how long requests may take to finish at the end")
	hosts := f.String("tls-hosts", getenv("ISTHMUS_TLS_HOSTS"), "names and addresses for the own certificate, separated by commas, besides the names that clients ask for")
	without := f.String("without", getenv("ISTHMUS_WITHOUT"), "rules of the order of changes that are left out, to see what they are for (docs/design/changes.md); never in earnest ($ISTHMUS_WITHOUT)")
	level := f.String("log-level", "info", "debug, info, warn or error")
	f.Usage = func() {} // a mistake gets one line, which the caller writes; only --help gets everything
	f.SetOutput(io.Discard)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(stdout)
		fmt.Fprint(stdout, usage)
		f.PrintDefaults()
		return o, err
	} else if err != nil {
		return o, &UsageError{err}
	}
	if err := check(f, &o); err != nil {
		return o, &UsageError{err}
	}
	for h := range strings.SplitSeq(*hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			o.Hosts = append(o.Hosts, h)
		}
	}
	var err error
	if o.Without, err = wellknown.Without(*without); err != nil {
		return o, &UsageError{fmt.Errorf("--without: %w", err)}
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(*level)); err != nil {
		return o, &UsageError{fmt.Errorf("--log-level %q is none of debug, info, warn, error", *level)}
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: l}))
	return o, nil
}

// usage is what --help says before the flags.
const usage = `server is the management plane: it keeps what users declare, and tells the edges what to run.

Usage:
  server --data-dir DIR [flags]

Examples:
  server --data-dir /var/lib/isthmus
  server --data-dir ./data --listen 127.0.0.1:8443 --metrics-listen 127.0.0.1:9443 --admin-password-file password

The first start makes an organization, the user admin, and a certificate authority. Exit codes: 0 ended by a signal,
1 failed, 2 the command line is wrong.

Flags:
`

// UsageError is a mistake in the command line.
type UsageError struct{ err error }

func (u *UsageError) Error() string { return u.err.Error() + "; see server --help" }
func (u *UsageError) Unwrap() error { return u.err }

// check finds flags that do not go together.
func check(f *flag.FlagSet, o *Options) error {
	switch {
	case f.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.DataDir == "":
		return errors.New("--data-dir is needed: it holds everything the server knows")
	case (o.CertFile == "") != (o.KeyFile == ""):
		return errors.New("--tls-cert and --tls-key go together")
	}
	return nil
}

// Run is the whole server: it opens the data directory, and serves until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	path := filepath.Join(o.DataDir, "isthmus.db")
	log, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, log, store.Config{Log: o.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// What can go wrong goes wrong before a first password is made up, which is told only once.
	if o.CertFile != "" {
		if _, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile); err != nil {
			return fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
	}
	l, m, err := listen(o)
	if err != nil {
		return err
	}
	if err := firstStart(ctx, db, o, l.Addr()); err != nil {
		return errors.Join(err, l.Close(), m.Close())
	}
	o.Log.InfoContext(ctx, "server starts", "version", version.Version, "address", l.Addr().String(), "data", o.DataDir)
	p, err := assemble(db, o)
	if err != nil {
		return errors.Join(err, l.Close(), m.Close())
	}
	if o.Listening != nil {
		o.Listening(l.Addr())
	}
	return p.run(ctx, l, m, o)
}

// listen takes the addresses of the API and of the metrics; without the latter there is one that does nothing.
func listen(o Options) (api, metrics net.Listener, err error) {
	if api, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, nil, fmt.Errorf("--listen: %w", err)
	}
	if o.MetricsListen == "" {
		return api, noListener{}, nil
	}
	if metrics, err = net.Listen("tcp", o.MetricsListen); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--metrics-listen: %w", err), api.Close())
	}
	return api, metrics, nil
}

// noListener is the absence of one.
type noListener struct{ net.Listener }

func (noListener) Close() error { return nil }

// firstStart gives the store what it needs, and says a password that was made up.
func firstStart(ctx context.Context, db *store.DB, o Options, addr net.Addr) error {
	password := o.Password
	if o.PasswordFile != "" {
		text, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return fmt.Errorf("--admin-password-file: %w", err)
		}
		if password = strings.TrimRight(string(text), "\r\n"); password == "" {
			return fmt.Errorf("--admin-password-file: %s is empty", o.PasswordFile)
		}
	}
	madeUp, err := Bootstrap(ctx, db, First{Organization: o.Organization, Password: password, Now: time.Now})
	if err != nil {
		return err
	}
	if madeUp != "" {
		_, err = fmt.Fprintf(o.Stdout, "The password of %q is %s\nIt is not shown again.\n%s", administrator, madeUp, nextSteps(o, addr))
	}
	return err
}

// nextSteps says how to sign in for the first time.
func nextSteps(o Options, addr net.Addr) string {
	at := addr.String()
	if host, port, err := net.SplitHostPort(at); err == nil && net.ParseIP(host).IsUnspecified() {
		at = net.JoinHostPort("localhost", port)
	}
	trust := ""
	if o.CertFile == "" {
		trust = " --tls-custom-ca-file " + filepath.Join(o.DataDir, "ca.crt")
	}
	return fmt.Sprintf("Sign in with:\n  tctl config clusters set default --bridge-address %s%s\n  tctl login --org %s --username %s\n",
		at, trust, o.Organization, administrator)
}

// writeCA puts the certificate of the server's CA where people find it.
func writeCA(dir string, pem []byte) error {
	if pem == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "ca.crt"), pem, 0o644)
}
