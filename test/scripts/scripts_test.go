// Package scripts drives the whole product in one process: a real server over a database in a temporary directory, and
// tctl as people call it. Every scenario runs over gRPC and over REST.
package scripts

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"isthmus.dev/isthmus/internal/cli"
	"isthmus.dev/isthmus/internal/server"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect")

const password = "correct horse battery"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tctl": func() {
		os.Exit(cli.Run(context.Background(), cli.Config{
			Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Now: time.Now,
		}))
	}})
}

func TestScripts(t *testing.T) {
	guide, err := filepath.Abs("../../examples/bookinfo/guide")
	if err != nil {
		t.Fatal(err)
	}
	for _, transport := range []string{"grpc", "rest"} {
		t.Run(transport, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir:                 "testdata",
				UpdateScripts:       *update,
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Condition: func(c string) (bool, error) {
					if c != "grpc" && c != "rest" {
						return false, fmt.Errorf("unknown condition %q", c)
					}
					return c == transport, nil
				},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"http": httpCommand, "tenants": tenantsCommand, "server": serverCommand, "nth": nthCommand, "edge": edgeCommand(t),
				},
				Setup: func(e *testscript.Env) error {
					e.Setenv("TCTL_TRANSPORT", transport)
					e.Setenv("TCTL_CONFIG", filepath.Join(e.WorkDir, "tctl.yaml"))
					e.Setenv("HOME", e.WorkDir)
					e.Setenv("GUIDE", guide)
					e.Setenv("PASSWORD", password)
					h := &host{dir: filepath.Join(e.WorkDir, ".server"), listen: "127.0.0.1:0"}
					e.Values["host"], e.Values["edges"] = h, edges{}
					e.Defer(func() { h.stop() })
					if err := h.start(); err != nil {
						return err
					}
					e.Setenv("SERVER", h.listen)
					config := fmt.Sprintf("clusters:\n- name: default\n  bridgeAddress: %s\n  tlsCustomCaFile: %s\n"+
						"users:\n- name: default\n  username: admin\n  password: %s\n  org: tetrate\n", h.listen, h.dir+"/ca.crt", password)
					return os.WriteFile(filepath.Join(e.WorkDir, "tctl.yaml"), []byte(config), 0o600)
				},
			})
		})
	}
}

// host is a server that a script can stop and start again.
type host struct {
	dir, listen string
	cancel      context.CancelFunc
	done        chan error
}

func (h *host) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.done = cancel, make(chan error, 1)
	ready := make(chan net.Addr, 1)
	go func() {
		h.done <- server.Run(ctx, server.Options{
			DataDir: h.dir, Listen: h.listen, Organization: "tetrate", Password: password, Grace: 5 * time.Second,
			Stdout: io.Discard, Log: slog.New(slog.DiscardHandler), Listening: func(a net.Addr) { ready <- a },
		})
	}()
	select {
	case a := <-ready:
		h.listen = a.String()
		return nil
	case err := <-h.done:
		h.done <- err
		return fmt.Errorf("the server did not start: %w", err)
	}
}

func (h *host) stop() error {
	h.cancel()
	err := <-h.done
	h.done <- err
	return err
}

func hostOf(ts *testscript.TestScript) *host { return ts.Value("host").(*host) }

// serverCommand is "server stop" and "server start".
func serverCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: server stop|start")
	}
	h := hostOf(ts)
	switch args[0] {
	case "stop":
		ts.Check(h.stop())
	case "start":
		ts.Check(h.start())
	default:
		ts.Fatalf("usage: server stop|start")
	}
}

// httpCommand is "http METHOD PATH [FILE]": it writes the status and the body to standard output, and the body to the
// file body. "! http" sends no credentials.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: http METHOD PATH [FILE]")
	}
	h := hostOf(ts)
	ca, err := os.ReadFile(filepath.Join(h.dir, "ca.crt"))
	ts.Check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	var body []byte
	if len(args) == 3 {
		body = []byte(ts.ReadFile(args[2]))
	}
	req, err := http.NewRequest(args[0], "https://"+h.listen+args[1], bytes.NewReader(body))
	ts.Check(err)
	if !neg {
		req.SetBasicAuth("admin", password)
	}
	res, err := (&http.Client{Transport: transport}).Do(req)
	ts.Check(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("body"), text, 0o600))
	fmt.Fprintf(ts.Stdout(), "%d\n%s", res.StatusCode, text)
}

// tenantsCommand is "tenants FILE BYTES": it writes a valid file of about that size.
func tenantsCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tenants FILE BYTES")
	}
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "---\napiVersion: api.tsb.tetrate.io/v2\nkind: Tenant\nmetadata: {organization: tetrate, name: t%d}\nspec:\n  description: %s\n", i, strings.Repeat("x", 4000))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// nthCommand is "nth FILE N OLD NEW": it replaces the nth occurrence of a text (from 1).
func nthCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: nth FILE N OLD NEW")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	parts := strings.SplitAfterN(ts.ReadFile(args[0]), args[2], n+1)
	if len(parts) < n+1 {
		ts.Fatalf("%s has %q fewer than %d times", args[0], args[2], n)
	}
	parts[n-1] = strings.TrimSuffix(parts[n-1], args[2]) + args[3]
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(parts, "")), 0o600))
}
