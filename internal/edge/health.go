package edge

import (
	"fmt"
	"net/http"
)

// Health serves /healthz (the process lives), /readyz (it does its work, or stands by while another one does; a server
// that cannot be reached makes no edge unready) and /metrics.
func (e *Edge) Health() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !e.standby.Load() && (!e.restored.Load() || !e.observer.synced()) {
			http.Error(w, "the cluster is not read yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		number := func(b bool) int {
			if b {
				return 1
			}
			return 0
		}
		fmt.Fprintf(w, "isthmus_edge_acting %d\nisthmus_edge_connected %d\n", number(!e.standby.Load()), number(e.connected.Load()))
		if r := e.lastReport(); r != nil {
			fmt.Fprintf(w, "isthmus_edge_objects %d\nisthmus_edge_objects_not_ok %d\nisthmus_edge_revision %d\n", r.Total, len(r.NotOK), r.At.Revision)
		}
	})
	return mux
}
