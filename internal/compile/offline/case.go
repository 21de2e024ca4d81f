package offline

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// ParseCase reads a case of a test by the names of its files: in.yaml is what users apply, observed.yaml what the edges report,
// clusters names those that have not reported, and claims says who asked first.
func ParseCase(files map[string]string) (Input, error) {
	in := Input{Clusters: strings.Fields(files["clusters"])}
	decoded, problems := resource.Decode([]resource.File{{Name: "in.yaml", Data: []byte(files["in.yaml"])}})
	var errs []error
	for _, p := range problems {
		errs = append(errs, errors.New(p.String()))
	}
	for _, d := range decoded {
		if d.Resource != nil {
			in.Resources = append(in.Resources, d.Resource)
		}
	}
	var err error
	if in.Observed, err = ParseObserved("observed.yaml", []byte(files["observed.yaml"])); err != nil {
		errs = append(errs, err)
	}
	if in.Claims, err = parseClaims(files["claims"]); err != nil {
		errs = append(errs, err)
	}
	return in, errors.Join(errs...)
}

// parseClaims reads lines such as "host/shop.test organizations/o/tenants/t/workspaces/w 7".
func parseClaims(text string) (map[store.Key]*store.Claim, error) {
	out := map[store.Key]*store.Claim{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, fmt.Errorf("claims: %q is not a claim, a workspace and a number", strings.TrimSpace(line))
		}
		since, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("claims: %w", err)
		}
		key := store.Key("c/" + f[0])
		if out[key] == nil {
			out[key] = &store.Claim{}
		}
		out[key].Claimants = append(out[key].Claimants, store.Claimant{Workspace: resource.FQN(f[1]), Since: since})
	}
	return out, nil
}
