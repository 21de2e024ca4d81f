package edge

import (
	"sync"
	"time"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
)

// secretPatience is how long a Secret that was good may be gone or spoilt before that is reported. The server closes
// what a bad certificate was for, and certificates are renewed by deleting them and making them again: nobody has to
// lose connections over the moment between, in which Envoy goes on with the old one.
const secretPatience = 10 * time.Second

// patience keeps the last good form of Secrets.
type patience struct {
	// again asks for another look at a fact after a while.
	again func(id string, after time.Duration)
	now   func() time.Time

	mu   sync.Mutex
	good map[string]*isthmusv1.Fact
	lost map[string]time.Time
}

func newPatience(again func(id string, after time.Duration)) *patience {
	return &patience{again: again, now: time.Now, good: map[string]*isthmusv1.Fact{}, lost: map[string]time.Time{}}
}

// report is what is to be told of a Secret that is f now, nil when it is gone.
func (p *patience) report(id string, f *isthmusv1.Fact) *isthmusv1.Fact {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.good[id]
	if before == nil || !worse(before.GetSecret(), f.GetSecret()) {
		delete(p.lost, id)
		p.good[id] = f
		if f == nil {
			delete(p.good, id)
		}
		return f
	}
	since, waiting := p.lost[id]
	if !waiting {
		p.lost[id] = p.now()
		p.again(id, secretPatience)
		return before
	}
	if p.now().Sub(since) < secretPatience {
		return before
	}
	delete(p.lost, id)
	delete(p.good, id)
	return f
}

// waiting are the Secrets that are gone or spoilt and not reported as such.
func (p *patience) waiting() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]string, 0, len(p.lost))
	for id := range p.lost {
		ids = append(ids, id)
	}
	return ids
}

// worse says whether a Secret cannot do any more what it could before.
func worse(before, now *isthmusv1.Secret) bool {
	return now == nil && (before.GetProblem() == "" || before.GetCa() || len(before.GetClientFiles()) > 0) ||
		len(before.GetClientFiles()) > 0 && now.GetClientProblem() != "" ||
		before.GetProblem() == "" && now.GetProblem() != "" || before.GetCa() && !now.GetCa()
}
