package server

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/protobuf/proto"

	tsbv2 "isthmus.dev/isthmus/api/tsb/v2"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/store"
)

// administrator is the name of the first user.
const administrator = "admin"

// First is what a store holds after its first start.
type First struct {
	// Organization is its name.
	Organization string
	// Password of the first administrator; empty makes one up.
	Password string
	Now      func() time.Time
}

// Bootstrap gives an empty store its organization, its first administrator, its certificate authority and its session
// key. What is there already stays, except that a given password that differs replaces the old one. When it made up a
// password, it returns it: nobody can read it again.
func Bootstrap(ctx context.Context, db *store.DB, first First) (password string, err error) {
	org := resource.FQN("").Child("organizations", first.Organization)
	admin := org.Child("users", administrator)
	stored, known := db.Private(passwordKey(admin))
	given := first.Password
	if !known && given == "" {
		given = newPassword()
		password = given
	}
	secrets, err := newSecrets(db, first.Now())
	if err != nil {
		return "", err
	}
	if given != "" && !(known && samePassword(stored, given)) {
		if secrets[passwordKey(admin)], err = hashPassword(given); err != nil {
			return "", fmt.Errorf("administrator's password: %w", err)
		}
	}
	if !known {
		secrets[adminKey(admin)] = []byte(org)
	}
	_, err = db.Update(ctx, store.Meta{Who: "server", Why: "first start"}, func(tx *store.Tx) error {
		if err := createMissing(tx, org, &tsbv2.Organization{DisplayName: first.Organization}); err != nil {
			return err
		}
		if !known {
			user := &tsbv2.User{LoginName: administrator, DisplayName: "First administrator", SourceType: tsbv2.User_LOCAL}
			if err := createMissing(tx, admin, user); err != nil {
				return err
			}
		}
		for k, v := range secrets {
			if err := tx.PutPrivate(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("first start: %w", err)
	}
	return password, nil
}

// newSecrets makes the keys that the store lacks.
func newSecrets(db *store.DB, now time.Time) (map[store.Key][]byte, error) {
	out := map[store.Key][]byte{}
	if _, ok := db.Private(keySession); !ok {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		out[keySession] = key.Seed()
	}
	if _, ok := db.Private(keyCAKey); !ok {
		cert, key, err := newCA(now)
		if err != nil {
			return nil, fmt.Errorf("server CA: %w", err)
		}
		out[keyCACert], out[keyCAKey] = cert, key
	}
	return out, nil
}

func newPassword() string {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}

// createMissing creates a resource unless there is one.
func createMissing(tx *store.Tx, fqn resource.FQN, spec proto.Message) error {
	if tx.Get(fqn) != nil {
		return nil
	}
	_, kind, err := resource.ParseFQN(string(fqn))
	if err != nil {
		return err
	}
	return tx.Create(&resource.Resource{Kind: kind, FQN: fqn, Spec: spec})
}

// samePassword says whether a password is the stored one.
func samePassword(hash []byte, password string) bool {
	return bcrypt.CompareHashAndPassword(hash, []byte(password)) == nil
}
