package server

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestParseFlags(t *testing.T) {
	for name, c := range map[string]struct {
		args string
		want string
	}{
		"Nothing":     {"", "--data-dir is needed"},
		"UnknownFlag": {"--data x", "not defined: -data; see server --help"},
		"Argument":    {"--data-dir d version", `unexpected argument "version"`},
		"CertAlone":   {"--data-dir d --tls-cert a", "go together"},
		"LogLevel":    {"--data-dir d --log-level loud", `"loud" is none of debug, info, warn, error`},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			_, err := ParseFlags(strings.Fields(c.args), func(string) string { return "" }, &out, &out)
			if _, ok := errors.AsType[*UsageError](err); !ok || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a usage error with %q", err, c.want)
			}
			if out.Len() > 0 {
				t.Errorf("wrote %q; the error is enough", out.String())
			}
		})
	}
	var out bytes.Buffer
	_, err := ParseFlags([]string{"--help"}, func(string) string { return "" }, &out, io.Discard)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "Examples:") || !strings.Contains(out.String(), "-metrics-listen") {
		t.Errorf("--help: %v\n%s", err, &out)
	}
}

// TestFirstStartFails: what fails at the first start has not made up a password, which the next start can still tell.
func TestFirstStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"AddressTaken":  {Options{Listen: taken.Addr().String()}, "--listen: "},
		"MetricsTaken":  {Options{MetricsListen: taken.Addr().String()}, "--metrics-listen: "},
		"NoAddress":     {Options{Listen: "nonsense"}, "--listen: "},
		"NoCertificate": {Options{CertFile: "nothing.pem", KeyFile: "nothing.pem"}, "--tls-cert and --tls-key: "},
		"EmptyPassword": {Options{PasswordFile: empty}, "is empty"},
		"DataIsAFile":   {Options{DataDir: empty}, "--data-dir: "},
	} {
		t.Run(name, func(t *testing.T) {
			if err := start(c.o, data); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{DataDir: data, Listen: "127.0.0.1:0", Organization: "tetrate", Stdout: &out, Log: slog.New(slog.DiscardHandler)}
	o.Listening = func(net.Addr) { cancel() }
	if err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`The password of "admin" is `, "tctl config clusters set default --bridge-address 127.0.0.1:", "ca.crt", "tctl login --org tetrate --username admin"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, &out)
		}
	}
}

// start runs a server that is expected to fail at once.
func start(o Options, data string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if o.DataDir == "" {
		o.DataDir = data
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	o.Organization, o.Log, o.Stdout = "tetrate", slog.New(slog.DiscardHandler), io.Discard
	return Run(ctx, o)
}
