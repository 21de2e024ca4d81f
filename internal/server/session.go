package server

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/authz"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/version"
)

// maxKeys bounds the keys of one cluster.
const maxKeys = 10

// Login implements the service. It and Version are the only methods for callers without credentials.
func (s *Server) Login(ctx context.Context, req *isthmusv1.LoginRequest) (*isthmusv1.LoginResponse, error) {
	if req.GetUsername() == "" {
		return nil, fmt.Errorf("%w: a username is needed", errInvalid)
	}
	c, hash, err := s.auth.password(ctx, req.GetOrganization(), req.GetUsername(), req.GetPassword())
	if err != nil {
		return nil, err
	}
	token, expires, err := signSession(s.auth.session, c.Subject, hash, s.now())
	if err != nil {
		return nil, err
	}
	return &isthmusv1.LoginResponse{Token: token, Expires: timestamppb.New(expires)}, nil
}

// WhoAmI implements the service.
func (s *Server) WhoAmI(ctx context.Context, _ *isthmusv1.WhoAmIRequest) (*isthmusv1.WhoAmIResponse, error) {
	if err := authz.Allow(ctx, authz.Self, ""); err != nil {
		return nil, err
	}
	c, _ := authz.CallerOf(ctx)
	out := &isthmusv1.WhoAmIResponse{Subject: string(c.Subject)}
	for _, r := range c.Roles {
		out.Roles = append(out.Roles, r.String())
	}
	return out, nil
}

// Version implements the service.
func (s *Server) Version(context.Context, *isthmusv1.VersionRequest) (*isthmusv1.VersionResponse, error) {
	return &isthmusv1.VersionResponse{Version: version.Version, Api: "v2"}, nil
}

// CreateServiceAccountKey implements the service.
func (s *Server) CreateServiceAccountKey(ctx context.Context, req *isthmusv1.CreateServiceAccountKeyRequest) (*isthmusv1.CreateServiceAccountKeyResponse, error) {
	fqn, err := name(ctx, authz.CreateKey, req.GetFqn())
	if err != nil {
		return nil, err
	}
	id, public, private, err := newClusterKey()
	if err != nil {
		return nil, err
	}
	err = s.changeKeys(ctx, fqn, "create key "+id, func(keys []*tsbv2.KeyPair) ([]*tsbv2.KeyPair, error) {
		if len(keys) >= maxKeys {
			return nil, fmt.Errorf("%w: %q has %d keys already; delete one that is not used", errInvalid, fqn, len(keys))
		}
		return append(keys, &tsbv2.KeyPair{Id: id, Encoding: tsbv2.KeyPair_JWK, PublicKey: public}), nil
	})
	if err != nil {
		return nil, err
	}
	return &isthmusv1.CreateServiceAccountKeyResponse{KeyId: id, Jwk: private}, nil
}

// DeleteServiceAccountKey implements the service.
func (s *Server) DeleteServiceAccountKey(ctx context.Context, req *isthmusv1.DeleteServiceAccountKeyRequest) (*isthmusv1.DeleteServiceAccountKeyResponse, error) {
	fqn, err := name(ctx, authz.DeleteKey, req.GetFqn())
	if err != nil {
		return nil, err
	}
	err = s.changeKeys(ctx, fqn, "delete key "+req.GetKeyId(), func(keys []*tsbv2.KeyPair) ([]*tsbv2.KeyPair, error) {
		var rest []*tsbv2.KeyPair
		for _, k := range keys {
			if k.GetId() != req.GetKeyId() {
				rest = append(rest, k)
			}
		}
		if len(rest) == len(keys) {
			return nil, fmt.Errorf("key %q of %q %w", req.GetKeyId(), fqn, store.ErrNotFound)
		}
		return rest, nil
	})
	if err != nil {
		return nil, err
	}
	return &isthmusv1.DeleteServiceAccountKeyResponse{}, nil
}

// changeKeys stores what f makes of the keys of a cluster.
func (s *Server) changeKeys(ctx context.Context, fqn resource.FQN, why string, f func([]*tsbv2.KeyPair) ([]*tsbv2.KeyPair, error)) error {
	_, err := s.db.Update(ctx, meta(ctx, why), func(tx *store.Tx) error {
		r := tx.Get(fqn)
		if r == nil {
			return fmt.Errorf("%q %w", fqn, store.ErrNotFound)
		}
		old, ok := r.Spec.(*tsbv2.Cluster)
		if !ok {
			return errors.Join(errInvalid, fmt.Errorf("%q is not a cluster: only clusters have keys", fqn))
		}
		c := proto.CloneOf(old)
		if c.ServiceAccount == nil {
			c.ServiceAccount = &tsbv2.ServiceAccount{}
		}
		var err error
		if c.ServiceAccount.Keys, err = f(c.ServiceAccount.Keys); err != nil {
			return err
		}
		_, err = tx.Put(&resource.Resource{Kind: r.Kind, FQN: fqn, Spec: c})
		return err
	})
	return err
}
