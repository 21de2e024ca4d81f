package resource

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	dnsLabel  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	// userName also allows what login names and mail addresses have.
	userName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._@+]{0,252}[A-Za-z0-9])?$`)
)

// ParseFQN returns a full name and its kind. Every segment is checked.
func ParseFQN(s string) (FQN, *Kind, error) {
	if s == "" {
		return "", nil, fmt.Errorf("the name is empty")
	}
	parts := strings.Split(s, "/")
	if len(parts)%2 != 0 {
		return "", nil, fmt.Errorf("name %q is not a sequence of <plural>/<name>", s)
	}
	var kind *Kind
	for i := 0; i < len(parts); i += 2 {
		k := child(kind, parts[i])
		if k == nil {
			return "", nil, fmt.Errorf("name %q: there is no kind with the plural %q %s", s, parts[i], below(kind))
		}
		if why := nameProblem(k, parts[i+1]); why != "" {
			return "", nil, fmt.Errorf("name %q: %s", s, why)
		}
		kind = k
	}
	return FQN(s), kind, nil
}

func below(k *Kind) string {
	if k == nil {
		return "at the root"
	}
	return "below " + k.Plural
}

// nameProblem says what is wrong with the name of a resource of a kind; empty when nothing is.
func nameProblem(k *Kind, name string) string {
	switch {
	case name == "":
		return "the name of the " + k.Name + " is empty"
	case k.Istio():
		if !subdomain.MatchString(name) || len(name) > 253 {
			return fmt.Sprintf("%q is not the name of a Kubernetes object: at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends", name)
		}
	case k.Plural == "users":
		if !userName.MatchString(name) {
			return fmt.Sprintf("%q is not a user name: letters, digits and -._@+", name)
		}
	case !dnsLabel.MatchString(name):
		return fmt.Sprintf("%q is not a DNS label: at most 63 lower-case letters, digits and '-', with a letter or digit at both ends", name)
	}
	return ""
}
