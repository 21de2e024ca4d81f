package ratelimit

import (
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what the limiter counts of itself. Rules and callers are no labels: there is no end to them.
type metrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
}

func newMetrics(t *Table) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "isthmus_ratelimit_decisions_total", Help: "Requests that were asked about, by what was answered.",
		}, []string{"outcome"}),
	}
	for _, outcome := range []string{"ok", "over_limit", "error"} {
		m.decisions.WithLabelValues(outcome) // 0 from the beginning, so that a rate can be taken of the first
	}
	m.registry.MustRegister(m.decisions, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "isthmus_ratelimit_counters", Help: "Counters that are kept.",
		}, func() float64 { n, _ := t.Size(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "isthmus_ratelimit_evictions_total", Help: "Counters that were given up within their window to make room for others.",
		}, func() float64 { _, n := t.Size(); return float64(n) }))
	return m
}

// health serves /healthz, /readyz (which says no once the limiter is leaving) and /metrics.
func (m *metrics) health(leaving *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if leaving.Load() {
			http.Error(w, "leaving", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
