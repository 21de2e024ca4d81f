package server

import (
	"context"
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
	level := f.String("log-level", "info", "debug, info, warn or error")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.DataDir == "" {
		return o, errors.New("--data-dir is needed: it holds everything the server knows")
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return o, errors.New("--tls-cert and --tls-key go together")
	}
	for h := range strings.SplitSeq(*hosts, ",") {
		if h = strings.TrimSpace(h); h != "" {
			o.Hosts = append(o.Hosts, h)
		}
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(*level)); err != nil {
		return o, fmt.Errorf("--log-level: %w", err)
	}
	o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: l}))
	return o, nil
}

// Run is the whole server: it opens the data directory, and serves until ctx ends.
func Run(ctx context.Context, o Options) (err error) {
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return err
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
	if err := firstStart(ctx, db, o); err != nil {
		return err
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	o.Log.InfoContext(ctx, "server starts", "version", version.Version, "address", l.Addr().String(), "data", o.DataDir)
	p, err := assemble(db, o)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	if o.Listening != nil {
		o.Listening(l.Addr())
	}
	return p.run(ctx, l, o)
}

// firstStart gives the store what it needs, and says a password that was made up.
func firstStart(ctx context.Context, db *store.DB, o Options) error {
	password := o.Password
	if o.PasswordFile != "" {
		text, err := os.ReadFile(o.PasswordFile)
		if err != nil {
			return fmt.Errorf("--admin-password-file: %w", err)
		}
		password = strings.TrimRight(string(text), "\r\n")
	}
	madeUp, err := Bootstrap(ctx, db, First{Organization: o.Organization, Password: password, Now: time.Now})
	if err != nil {
		return err
	}
	if madeUp != "" {
		_, err = fmt.Fprintf(o.Stdout, "The password of %q is %s\nIt is not shown again.\n", administrator, madeUp)
	}
	return err
}

// writeCA puts the certificate of the server's CA where people find it.
func writeCA(dir string, pem []byte) error {
	if pem == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, "ca.crt"), pem, 0o644)
}
