package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

const (
	// bcryptCost makes a guess cost about 50 ms.
	bcryptCost = 10
	// A name gets loginBurst tries at once and then one per loginEvery.
	loginBurst = 10
	loginEvery = 2 * time.Second
	// maxNames bounds the memory for names, which anybody can invent.
	maxNames = 4096
	// verifiedFor is how long a verified password is remembered, so that Basic credentials on every request do not
	// cost a hash each. A changed password is refused at once all the same.
	verifiedFor = time.Minute
)

var (
	errWrongPassword = errors.New("wrong name or password")
	errTooManyTries  = errors.New("too many attempts to sign in; wait a little")
)

// passwords checks passwords and bounds how often they can be tried.
type passwords struct {
	now   func() time.Time
	slots chan struct{} // hashes at a time
	decoy []byte        // compared for names that do not exist, so that they take as long
	key   []byte        // of remembered passwords

	mu       sync.Mutex
	tries    map[string]*rate.Limiter // guarded by mu
	verified map[[32]byte]time.Time   // guarded by mu
}

func newPasswords(now func() time.Time) (*passwords, error) {
	key := make([]byte, 32)
	rand.Read(key) // never fails
	decoy, err := bcrypt.GenerateFromPassword(key, bcryptCost)
	if err != nil {
		return nil, err
	}
	return &passwords{
		now: now, decoy: decoy, key: key, slots: make(chan struct{}, 2),
		tries: map[string]*rate.Limiter{}, verified: map[[32]byte]time.Time{},
	}, nil
}

// hashPassword is what is stored.
func hashPassword(password string) ([]byte, error) {
	if len(password) > 72 {
		return nil, errors.New("a password has at most 72 bytes")
	}
	return bcrypt.GenerateFromPassword([]byte(password), bcryptCost)
}

// check compares a password with the stored hash; nil hash means that there is no such user.
func (p *passwords) check(ctx context.Context, name string, hash []byte, password string) error {
	known := p.fingerprint(name, hash, password)
	if p.remembered(known) {
		return nil
	}
	if !p.limiter(name).AllowN(p.now(), 1) {
		return errTooManyTries
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if hash == nil {
		_ = bcrypt.CompareHashAndPassword(p.decoy, []byte(password))
		return errWrongPassword
	}
	if bcrypt.CompareHashAndPassword(hash, []byte(password)) != nil {
		return errWrongPassword
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.verified) >= maxNames {
		clear(p.verified)
	}
	p.verified[known] = p.now().Add(verifiedFor)
	delete(p.tries, name)
	return nil
}

func (p *passwords) fingerprint(name string, hash []byte, password string) (sum [32]byte) {
	m := hmac.New(sha256.New, p.key)
	for _, s := range []string{name, string(hash), password} {
		one := sha256.Sum256([]byte(s))
		m.Write(one[:])
	}
	m.Sum(sum[:0])
	return sum
}

func (p *passwords) remembered(known [32]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.verified[known]
	return ok && p.now().Before(until)
}

// forget names that were tried little: whoever invents names must not get new tries for another one by it. The lock
// is held.
func (p *passwords) forget() {
	least, most := "", -1.0
	for name, l := range p.tries {
		left := l.TokensAt(p.now())
		if left > most {
			least, most = name, left
		}
		if left > loginBurst/2 {
			delete(p.tries, name)
		}
	}
	delete(p.tries, least)
}

func (p *passwords) limiter(name string) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.tries[name]
	if l == nil {
		if len(p.tries) >= maxNames {
			p.forget()
		}
		l = rate.NewLimiter(rate.Every(loginEvery), loginBurst)
		p.tries[name] = l
	}
	return l
}
