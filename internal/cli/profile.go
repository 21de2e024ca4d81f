package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// defaultName is the name of a cluster, user or profile that nobody named.
const defaultName = "default"

// settings is the configuration file: three named lists, and which profile is current.
type settings struct {
	Clusters       []endpoint `yaml:"clusters,omitempty"`
	Users          []account  `yaml:"users,omitempty"`
	Profiles       []profile  `yaml:"profiles,omitempty"`
	CurrentProfile string     `yaml:"currentProfile,omitempty"`

	path string
}

// endpoint is where a server is.
type endpoint struct {
	Name            string        `yaml:"name"`
	BridgeAddress   string        `yaml:"bridgeAddress,omitempty"`
	Timeout         time.Duration `yaml:"timeout,omitempty"`
	TLSDisabled     bool          `yaml:"tlsDisabled,omitempty"`
	TLSInsecure     bool          `yaml:"tlsInsecure,omitempty"`
	TLSCustomCAFile string        `yaml:"tlsCustomCaFile,omitempty"`
	MaxMessage      int           `yaml:"maxGrpcMsgSize,omitempty"`
}

// account is who signs in.
type account struct {
	Name     string    `yaml:"name"`
	Username string    `yaml:"username,omitempty"`
	Password string    `yaml:"password,omitempty"`
	Org      string    `yaml:"org,omitempty"`
	Tenant   string    `yaml:"tenant,omitempty"`
	Token    string    `yaml:"token,omitempty"`
	Expires  time.Time `yaml:"expires,omitempty"`
}

// profile is a server and a user of it.
type profile struct {
	Name     string `yaml:"name"`
	Cluster  string `yaml:"cluster,omitempty"`
	Username string `yaml:"username,omitempty"`
}

func (c endpoint) name() string { return c.Name }
func (u account) name() string  { return u.Name }
func (p profile) name() string  { return p.Name }

// named is an element of one of the three lists.
type named interface{ name() string }

// find returns the place of an element, -1 when there is none.
func find[T named](list []T, name string) int {
	return slices.IndexFunc(list, func(t T) bool { return t.name() == name })
}

// put replaces the element of the same name or adds it.
func put[T named](list []T, t T) []T {
	if i := find(list, t.name()); i >= 0 {
		list[i] = t
		return list
	}
	return append(list, t)
}

// get returns the element of a name, or the zero value.
func get[T named](list []T, name string) (t T, ok bool) {
	if i := find(list, name); i >= 0 {
		return list[i], true
	}
	return t, false
}

// configPath is -c, else $TCTL_CONFIG, else ~/.tctl/config.
func (e *env) configPath() (string, error) {
	if p := cmp.Or(e.configFile, e.getenv("TCTL_CONFIG")); p != "" {
		return p, nil
	}
	home := e.getenv("HOME")
	if home == "" {
		return "", errors.New("neither -c, TCTL_CONFIG nor HOME says where the configuration is")
	}
	return filepath.Join(home, ".tctl", "config"), nil
}

// settings reads the configuration file; one that does not exist is empty.
func (e *env) settings() (*settings, error) {
	path, err := e.configPath()
	if err != nil {
		return nil, err
	}
	s := &settings{path: path}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := yaml.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// save writes the file so that nobody sees half of it; it holds secrets.
func (s *settings) save() error {
	text, err := yaml.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), ".config-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.path)
}

// active is the profile to use with its server and user: -p, else the current one, else "default".
func (e *env) active(s *settings) (profile, endpoint, account, error) {
	name := cmp.Or(e.profile, s.CurrentProfile, defaultName)
	p, known := get(s.Profiles, name)
	if !known {
		if e.profile != "" && name != defaultName {
			return p, endpoint{}, account{}, fmt.Errorf("there is no profile %q in %s; 'tctl config profiles list' shows them", name, s.path)
		}
		p = profile{Name: name, Cluster: defaultName, Username: defaultName}
	}
	c, ok := get(s.Clusters, cmp.Or(p.Cluster, defaultName))
	if !ok && !known && len(s.Clusters) == 1 {
		c, ok = s.Clusters[0], true
		p.Cluster = c.Name
	}
	if !ok {
		return p, c, account{}, fmt.Errorf("profile %q needs the server %q, which %s does not have; 'tctl config clusters set %s --bridge-address HOST:8443' adds it",
			name, cmp.Or(p.Cluster, defaultName), s.path, cmp.Or(p.Cluster, defaultName))
	}
	u, ok := get(s.Users, cmp.Or(p.Username, defaultName))
	if !ok && !known && len(s.Users) == 1 {
		u = s.Users[0]
		p.Username = u.Name
	}
	return p, c, u, nil
}
