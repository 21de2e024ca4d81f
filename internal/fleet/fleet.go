// Package fleet knows which bundle each cluster should run and what its edge says that it runs, and brings the two
// together over one stream per edge.
//
// Nothing is sent before the first Publish, nor before what is published has reached what an edge already runs: not
// knowing is not emptiness.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	isthmusv1 "isthmus.dev/isthmus/api/isthmus/v1"
	"isthmus.dev/isthmus/api/isthmus/v1/isthmusv1connect"
	"isthmus.dev/isthmus/internal/istio"
	"isthmus.dev/isthmus/internal/resource"
	"isthmus.dev/isthmus/internal/wellknown"
)

// Protocol is the version of the stream that this server speaks.
const Protocol = 1

const (
	// maxMessage is what an edge may say at once. The longest is a Hello, about 150 bytes for each object.
	maxMessage = 32 << 20
	// maxName is more than the name of a session or of a version has, which are stored.
	maxName = 256
	// partBytes is where deltas are cut. Whoever waits for a message holds a buffer that was as long as one: of the memory
	// for each edge, parts of 1 MiB were half.
	partBytes = 128 << 10
	// maxObject is more than the Kubernetes API server takes, and less than the 4 MiB that an edge does: a larger object
	// would end the stream each time, and so keep everybody else's from the cluster.
	maxObject = 3 << 20
)

// ErrFenced is what Observe returns for a session that is not the newest of its cluster.
var ErrFenced = errors.New("another edge of this cluster took over")

// Observation is one complete report of an edge: all parts of it.
type Observation struct {
	Cluster, Session string
	// Full means that facts which are not in Put are gone.
	Full bool
	Put  []*isthmusv1.Fact
	Drop []string
}

// Config says what a Fleet needs. Fields without a comment are required.
type Config struct {
	// Authenticate says which cluster's edge sent the header, or why nobody did. It is asked when a stream opens, and
	// again while it is open: then as of the time it opened, so that a token may expire but a removed key ends it.
	Authenticate func(ctx context.Context, h http.Header, opened time.Time) (resource.FQN, error)
	// StartSession makes session the one of its cluster that may observe.
	StartSession func(ctx context.Context, cluster, session string) error
	// Observe stores a report; it returns ErrFenced when a newer session has begun.
	Observe func(context.Context, Observation) error

	// Changed is called when the State of a cluster may have become another. It must not block. nil is nobody.
	Changed   func(cluster string)
	Log       *slog.Logger  // nil discards
	Heartbeat time.Duration // 0 means 5s; a peer that is silent for three of them is gone
	Write     time.Duration // deadline of one send; 0 means 10s
	Recheck   time.Duration // how often credentials are looked at again; 0 means 5s
	Hold      time.Duration // how long removals, and what sends requests elsewhere, are held back at most; 0 means six heartbeats: twice as long as who says nothing counts as there
	// Without are rules of the order of changes that are left out, which is only good to see what they are for.
	Without map[wellknown.Order]bool
	Settle  time.Duration // how long after a cluster is ready requests are sent there; 0 means 1s
}

// Fleet serves the streams of all edges. Its methods may be called at any time from anywhere.
type Fleet struct {
	cfg Config

	mu       sync.Mutex
	epoch    string
	revision int64 // of the newest Publish; 0 before the first
	clusters map[string]*cluster
	holds    map[*hold]bool
	closing  *isthmusv1.Goaway // no new streams, and the open ones end
	streams  sync.WaitGroup
}

// New makes a Fleet that knows of no bundle.
func New(cfg Config) *Fleet {
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 5*time.Second)
	cfg.Write = cmp.Or(cfg.Write, 10*time.Second)
	cfg.Recheck = cmp.Or(cfg.Recheck, 5*time.Second)
	cfg.Hold = cmp.Or(cfg.Hold, 6*cfg.Heartbeat)
	cfg.Settle = cmp.Or(cfg.Settle, time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func(string) {}
	}
	return &Fleet{cfg: cfg, clusters: map[string]*cluster{}, holds: map[*hold]bool{}}
}

// Handler serves the Fleet service; its server has to speak HTTP/2.
func (f *Fleet) Handler() (string, http.Handler) {
	path, inner := isthmusv1connect.NewFleetHandler(f, connect.WithReadMaxBytes(maxMessage), connect.WithCompressMinBytes(8<<10))
	return path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Deadlines of a stream can only be set here, and a stream without them can block for ever.
		inner.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), controllerKey{}, http.NewResponseController(w))))
	})
}

type controllerKey struct{}

// Publish makes the changes what the clusters should run from revision on. Bundles that no change names stay as they
// are; the first Publish of a process has to name every cluster, with Full. Revisions never go back within an epoch.
func (f *Fleet) Publish(epoch string, revision int64, changes []istio.Change) {
	f.mu.Lock()
	first := f.revision == 0 || f.epoch != epoch
	f.epoch, f.revision = epoch, max(revision, 1)
	removed := map[string]map[string]bool{}
	touched := map[string]bool{}
	for _, ch := range changes {
		c := f.cluster(ch.Cluster)
		drops := c.publish(ch)
		touched[ch.Cluster] = true
		if len(drops) > 0 {
			removed[ch.Cluster] = drops
		}
	}
	if !first {
		f.holdBack(removed, changes)
	}
	names := maps.Clone(touched)
	for name, c := range f.clusters {
		if first || touched[name] {
			names[name] = true
			c.wake()
		}
	}
	f.mu.Unlock()
	for name := range names {
		f.cfg.Changed(name)
	}
}

func (f *Fleet) cluster(name string) *cluster {
	c := f.clusters[name]
	if c == nil {
		c = newCluster(name)
		f.clusters[name] = c
	}
	return c
}

// State is what is known of a cluster's edge. It is the caller's own.
type State struct {
	// Connected says that an edge holds a stream now.
	Connected bool
	// Reported says that a full report of the cluster was stored since the server started.
	Reported bool
	// Answered says that the edge has said how it stands to a bundle since the server started.
	Answered bool
	// Version of the edge.
	Version string
	// LastSync is when the edge was heard last; zero for never.
	LastSync time.Time
	// Unsent and Unanswered are objects that were not sent in their wanted form, or not answered since.
	Unsent, Unanswered map[string]bool
	// NotOK are objects of the last answer that are not as wanted.
	NotOK map[string]*isthmusv1.ObjectOutcome
}

// State of a cluster; the zero value for one that nobody heard of.
func (f *Fleet) State(name string) State {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.clusters[name]
	if c == nil {
		return State{}
	}
	return c.state()
}

// Clusters that have a bundle or had an edge, in no order.
func (f *Fleet) Clusters() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.clusters))
	for n := range f.clusters {
		names = append(names, n)
	}
	return names
}

// Shutdown tells every edge to come back later, refuses new streams, and waits until all have ended or ctx has. Call it
// before http.Server.Shutdown, which waits for open streams.
func (f *Fleet) Shutdown(ctx context.Context) error {
	f.mu.Lock()
	f.closing = &isthmusv1.Goaway{Reason: "the server shuts down", ReconnectAfterMs: 200}
	for _, c := range f.clusters {
		c.wake()
	}
	f.mu.Unlock()
	done := make(chan struct{})
	go func() { f.streams.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
