// Package scenarios shows features by requests that go through real gateways. Each file of testdata is one scenario:
// what is set up, what is applied, which requests are made and how they are answered. README.md describes the format.
//
// Reading and judging is here, and needs nothing; what talks to clusters has the build tag e2e.
package scenarios

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
	"go.yaml.in/yaml/v3"
)

// Scenario is one file.
type Scenario struct {
	Name   string
	Lesson string
	Setup  Setup
	Steps  []Step
}

// Step is one section of the file, in the order of the file. Text has placeholders.
type Step struct {
	// Title is the whole line, for messages.
	Title string
	// Verb is apply, delete, refused, run, requests, status, begin or end.
	Verb string
	// Where is what follows the verb: clusters, or tsb.
	Where []string
	Text  string
}

// verbs of steps, and whether they say where.
var verbs = map[string]bool{"apply": true, "delete": true, "refused": false, "run": false, "requests": false, "status": false, "begin": false, "end": false}

// name of a scenario: it is a namespace, a workspace, and part of host names.
var name = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$`)

// Parse reads a scenario. Everything that can be wrong without a cluster is found here.
func Parse(path string, text []byte) (*Scenario, error) {
	ar := txtar.Parse(text)
	s := &Scenario{Name: strings.TrimSuffix(filepath.Base(path), ".txtar"), Lesson: strings.TrimSpace(string(ar.Comment))}
	if !name.MatchString(s.Name) {
		return nil, fmt.Errorf("%s: the name has to be at most 32 lower-case letters, digits and dashes", path)
	}
	if s.Lesson == "" {
		return nil, fmt.Errorf("%s: the text above the first section has to say what the scenario shows", path)
	}
	for i, f := range ar.Files {
		if f.Name == "setup" && i == 0 {
			if err := decode(Expand(string(f.Data), s.fixed), &s.Setup); err != nil {
				return nil, fmt.Errorf("%s: setup: %w", path, err)
			}
			continue
		}
		step, err := newStep(f)
		if err == nil {
			err = s.check(step)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: section %q: %w", path, f.Name, err)
		}
		s.Steps = append(s.Steps, step)
	}
	if len(s.Steps) == 0 {
		return nil, fmt.Errorf("%s: there is nothing to do", path)
	}
	if _, err := s.shared(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := s.Setup.check(); err != nil {
		return nil, fmt.Errorf("%s: setup: %w", path, err)
	}
	return s, nil
}

func newStep(f txtar.File) (Step, error) {
	s := Step{Title: f.Name, Text: string(f.Data)}
	what, _, _ := strings.Cut(f.Name, ":")
	words := strings.Fields(what)
	if len(words) == 0 {
		return s, errors.New("the section has no name")
	}
	s.Verb, s.Where = words[0], words[1:]
	wants, ok := verbs[s.Verb]
	switch {
	case s.Verb == "setup":
		return s, errors.New("setup has to come first, and once")
	case !ok:
		return s, fmt.Errorf("there is no step %q, only apply, delete, refused, run, requests, status, begin and end (what follows a colon is a title)", s.Verb)
	case wants && len(s.Where) == 0:
		return s, fmt.Errorf("%s has to say where: tsb, or clusters", s.Verb)
	case !wants && len(s.Where) > 0:
		return s, fmt.Errorf("%q after %s: a title follows a colon", strings.Join(s.Where, " "), s.Verb)
	}
	for _, w := range s.Where {
		if w != "tsb" && !slices.Contains(Clusters, w) {
			return s, fmt.Errorf("%q is neither tsb nor a cluster (%s)", w, strings.Join(Clusters, ", "))
		}
	}
	return s, nil
}

// check decodes what a step says, with some text in the place of what is only known when it runs.
func (s *Scenario) check(step Step) error {
	var unknown error
	text := Expand(step.Text, func(key string) (string, error) {
		if v, err := s.fixed(key); err == nil {
			return v, nil
		}
		kind, arg, _ := strings.Cut(key, ":")
		if err := s.Setup.knows(kind, arg); err != nil && unknown == nil {
			unknown = fmt.Errorf("${%s}: %w", key, err)
		}
		return "0", nil
	})
	if text.err != nil {
		return text.err
	}
	if unknown != nil {
		return unknown
	}
	_, err := step.parse(text)
	return err
}

// parsed is what a step says once its placeholders are filled in.
type parsed struct {
	Calls   []Call
	Checks  []Check
	Refused Refused
	Text    string
}

func (s Step) parse(text Text) (p parsed, err error) {
	p.Text = text.s
	if text.err != nil {
		return p, text.err
	}
	switch s.Verb {
	case "requests", "begin":
		if err = decode(text, &p.Calls); err == nil {
			err = checkAll(p.Calls)
		}
		if err == nil && s.Verb != "begin" && slices.ContainsFunc(p.Calls, func(c Call) bool { return c.Outage != 0 }) {
			err = errors.New("outage: it is of requests that go on, from begin to end")
		}
	case "status":
		if err = decode(text, &p.Checks); err == nil {
			err = checkAll(p.Checks)
		}
	case "refused":
		if err = decode(text, &p.Refused); err == nil {
			err = p.Refused.check()
		}
	case "end":
		if strings.TrimSpace(text.s) != "" {
			err = errors.New("end has no content")
		}
	default:
		if strings.TrimSpace(text.s) == "" {
			err = errors.New("it is empty")
		}
	}
	return p, err
}

func checkAll[T interface{ check() error }](all []T) error {
	if len(all) == 0 {
		return errors.New("the list is empty")
	}
	for i, one := range all {
		if err := one.check(); err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	return nil
}

// fixed are the placeholders that are known without a cluster.
func (s *Scenario) fixed(key string) (string, error) {
	switch key {
	case "ns":
		return s.Name, nil
	case "domain":
		return s.Name + ".test", nil
	case "workspace":
		return "organization: " + Organization + ", tenant: " + Tenant + ", workspace: " + s.Name, nil
	case "group":
		return "organization: " + Organization + ", tenant: " + Tenant + ", workspace: " + s.Name + ", group: " + Group, nil
	}
	return "", errors.New("unknown")
}

// Text is text without placeholders, or why it has one that cannot be filled in.
type Text struct {
	s   string
	err error
}

var placeholder = regexp.MustCompile(`\$\{[^}\n]*\}`)

// Expand fills in ${…}.
func Expand(text string, value func(key string) (string, error)) Text {
	var out Text
	out.s = placeholder.ReplaceAllStringFunc(text, func(m string) string {
		v, err := value(m[2 : len(m)-1])
		if err != nil && out.err == nil {
			out.err = fmt.Errorf("%s: %w", m, err)
		}
		return v
	})
	return out
}

// decode reads one YAML document. An unknown key is an error: a misspelt expectation would be one that always holds.
func decode(text Text, v any) error {
	if text.err != nil {
		return text.err
	}
	d := yaml.NewDecoder(strings.NewReader(text.s))
	d.KnownFields(true)
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("it is empty")
		}
		return err
	}
	if err := d.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one document")
	}
	return nil
}
