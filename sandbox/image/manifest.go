// Package image keeps the sandbox's images. An image is a directory: its files
// are the root of the containers, and the file image.json in it says what to
// run. There are no layers and no registry.
package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ManifestName is the file of an image's directory that is not part of the
// container's root.
const ManifestName = "image.json"

// Manifest says how to run an image. Every field may be empty.
type Manifest struct {
	// Ref is the name pods use. It is filled in when the image is added.
	Ref string `json:"ref,omitempty"`

	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"` // NAME=value
	WorkingDir string   `json:"workingDir,omitempty"`

	// User is "uid" or "uid:gid", or names of the image's own /etc/passwd and
	// /etc/group. Empty is root.
	User string `json:"user,omitempty"`

	// HostUsr puts /usr, /bin, /sbin, /lib*, and a few files of /etc of the
	// machine into the containers, read-only: for programs that need shared
	// libraries or tools that the image does not carry.
	HostUsr bool `json:"hostUsr,omitempty"`
}

// ReadManifest reads the manifest of the image directory dir. Unknown fields
// are an error: a misspelt "entrypont" would otherwise be a container that does
// nothing.
func ReadManifest(dir string) (Manifest, error) {
	path := filepath.Join(dir, ManifestName)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Manifest{}, fmt.Errorf("%s: an image directory needs this file; {\"entrypoint\": [\"/program\"]} is enough", path)
	}
	if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Manifest{}, fmt.Errorf("%s: more than one JSON value", path)
	}
	if err := m.check(); err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// check finds what cannot work in any container.
func (m Manifest) check() error {
	for i, e := range m.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("env[%d]: %q is not NAME=value", i, e)
		}
	}
	if m.WorkingDir != "" && !filepath.IsAbs(m.WorkingDir) {
		return fmt.Errorf("workingDir: %q is not an absolute path", m.WorkingDir)
	}
	return nil
}

// Normalize gives a reference without tag or digest the tag "latest", as
// Kubernetes does before it asks for an image.
func Normalize(ref string) string {
	if strings.Contains(ref, "@") {
		return ref
	}
	last := ref[strings.LastIndex(ref, "/")+1:]
	if strings.Contains(last, ":") {
		return ref
	}
	return ref + ":latest"
}

// UID returns the numeric user of the manifest, or ok false when it is a name.
func (m Manifest) UID() (uid int64, ok bool) {
	user, _, _ := strings.Cut(m.User, ":")
	if user == "" {
		return 0, true
	}
	uid, err := strconv.ParseInt(user, 10, 32)
	return uid, err == nil
}
