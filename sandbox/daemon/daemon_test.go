package daemon

import (
	"os"
	"strings"
	"testing"

	"isthmus.dev/sandbox/pki"
	"isthmus.dev/sandbox/state"
)

// Trusting an authority adds it once and refuses what is no certificate.
func TestTrust(t *testing.T) {
	d := &Daemon{boot: Boot{Dir: state.Dir(t.TempDir())}}
	if err := os.MkdirAll(d.boot.Dir.Path("trust"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.boot.Dir.Trust(), []byte("# Debian's\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ca, err := pki.NewRoot("Test")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := d.trust(strings.NewReader(string(ca.CertPEM))); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(d.boot.Dir.Trust())
	if err != nil {
		t.Fatal(err)
	}
	if want := "# Debian's\n" + string(ca.CertPEM); string(got) != want {
		t.Errorf("bundle is\n%s\nwant\n%s", got, want)
	}
	for name, in := range map[string]string{
		"Empty":   "",
		"KeyOnly": string(ca.KeyPEM),
		"Broken":  "-----BEGIN CERTIFICATE-----\naGFsbG8=\n-----END CERTIFICATE-----\n",
	} {
		t.Run(name, func(t *testing.T) {
			if err := d.trust(strings.NewReader(in)); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

// What follow reads is what say wrote, line breaks included.
func TestFollow(t *testing.T) {
	for name, tc := range map[string]struct {
		write func(*os.File) error
		err   string
	}{
		"Ready":  {func(w *os.File) error { return say(w, lineReady, "") }, ""},
		"Failed": {func(w *os.File) error { return say(w, lineFailed, "first\nsecond") }, "first\nsecond"},
		"Died":   {func(*os.File) error { return nil }, "the sandbox ended before it was ready"},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := say(w, lineProgress, "on the way"); err != nil {
				t.Fatal(err)
			}
			if err := tc.write(w); err != nil {
				t.Fatal(err)
			}
			w.Close()
			var lines []string
			err = follow(t.Context(), r, func(l string) { lines = append(lines, l) })
			if got := errString(err); got != tc.err {
				t.Errorf("follow = %q, want %q", got, tc.err)
			}
			if len(lines) != 1 || lines[0] != "on the way" {
				t.Errorf("progress is %q", lines)
			}
		})
	}
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
