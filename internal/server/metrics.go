package server

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what the server counts. The zero value of the pointer counts nothing.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "isthmus_request_seconds",
			Help:    "How long requests took, by method and code of the answer. Streams count when they end.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10},
		}, []string{"method", "code"}),
	}
	m.registry.MustRegister(m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// gauge adds a figure that is asked for when somebody looks.
func (m *metrics) gauge(name, help string, value func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
}

// count takes in a request that is done.
func (m *metrics) count(method, code string, took time.Duration) {
	if m != nil {
		m.requests.WithLabelValues(method, code).Observe(took.Seconds())
	}
}

// addGauges adds what the parts know of themselves.
func (p *parts) addGauges() {
	m := p.server.metrics
	m.gauge("isthmus_store_revision", "The newest revision of the store.", func() float64 { return float64(p.db.Snapshot().Revision()) })
	m.gauge("isthmus_compiled_revision", "The revision that the published bundles were made from.", func() float64 {
		p.state.mu.Lock()
		defer p.state.mu.Unlock()
		return float64(p.state.compiled)
	})
	m.gauge("isthmus_edges_connected", "Clusters whose edge is connected.", func() float64 {
		n := 0
		for _, c := range p.fleet.Clusters() {
			if p.fleet.State(c).Connected {
				n++
			}
		}
		return float64(n)
	})
}

// serveMetrics answers /metrics and the health paths in plain text until ctx ends.
func (s *Server) serveMetrics(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{}))
	s.health(mux)
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { h.Close() })
	defer stop()
	if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
