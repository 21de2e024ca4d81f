package authz

import (
	"errors"
	"testing"

	"isthmus.dev/isthmus/internal/resource"
)

func TestAllow(t *testing.T) {
	admin := &Caller{Subject: "organizations/o/users/admin", Roles: []Role{{Admin, "organizations/o"}}}
	edge := &Caller{Subject: "organizations/o/clusters/c", Roles: []Role{{Edge, "organizations/o/clusters/c"}}}
	guest := &Caller{Subject: "organizations/o/users/guest"}
	for name, tc := range map[string]struct {
		caller *Caller
		verb   Verb
		fqn    resource.FQN
		want   error
	}{
		"NobodyReads":             {nil, Read, "organizations/o", ErrUnauthenticated},
		"NobodyAsksAboutItself":   {nil, Self, "", ErrUnauthenticated},
		"AdminWrites":             {admin, Write, "organizations/o/tenants/t", nil},
		"AdminOfItsOrganization":  {admin, Write, "organizations/o", nil},
		"AdminElsewhere":          {admin, Read, "organizations/other", ErrDenied},
		"AdminOfAPrefix":          {admin, Read, "organizations/oo", ErrDenied},
		"AdminOfNothing":          {admin, Read, "", ErrDenied},
		"AdminIsNotAnEdge":        {admin, Connect, "organizations/o/clusters/c", ErrDenied},
		"AdminUnknownVerb":        {admin, "reboot", "organizations/o", ErrDenied},
		"EdgeConnects":            {edge, Connect, "organizations/o/clusters/c", nil},
		"EdgeAsAnother":           {edge, Connect, "organizations/o/clusters/d", ErrDenied},
		"EdgeReads":               {edge, Read, "organizations/o/clusters/c", ErrDenied},
		"EdgeAsksAboutItself":     {edge, Self, "", nil},
		"GuestReads":              {guest, Read, "organizations/o", ErrDenied},
		"ScopelessRoleIsNoScope":  {&Caller{Roles: []Role{{Admin, ""}}}, Read, "", ErrDenied},
		"UnknownRoleMayDoNothing": {&Caller{Roles: []Role{{"root", "organizations/o"}}}, Read, "organizations/o", ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if tc.caller != nil {
				ctx = WithCaller(ctx, *tc.caller)
			}
			if err := Allow(ctx, tc.verb, tc.fqn); !errors.Is(err, tc.want) {
				t.Errorf("Allow(%s, %q) = %v, want %v", tc.verb, tc.fqn, err, tc.want)
			}
		})
	}
}
