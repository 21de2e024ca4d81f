// Command ratings is bookinfo's ratings service: how many stars each reviewer gave.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := service.Run(ctx, os.Args[1:], handler(os.Getenv)); err != nil {
		fmt.Fprintln(os.Stderr, "ratings:", err)
		os.Exit(1)
	}
}

type answer struct {
	ID      int            `json:"id"`
	Ratings map[string]int `json:"ratings"`
	service.Identity
}

// shelf keeps what was posted, for as long as the process lives.
type shelf struct {
	mu    sync.Mutex
	books map[int]map[string]int
}

func (s *shelf) get(id int) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.books[id]; ok {
		return r
	}
	return map[string]int{"Reviewer1": 5, "Reviewer2": 4}
}

// put keeps the map, which nobody may change afterwards.
func (s *shelf) put(id int, r map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.books[id] = r
}

func handler(env service.Getenv) http.Handler {
	id := service.IdentityFrom(env)
	s := &shelf{books: map[int]map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", service.Health("Ratings"))
	mux.HandleFunc("GET /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		if n, ok := product(w, r); ok {
			service.WriteJSON(w, http.StatusOK, answer{n, s.get(n), id})
		}
	})
	mux.HandleFunc("POST /ratings/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, ok := product(w, r)
		if !ok {
			return
		}
		var stars map[string]int
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&stars); err != nil {
			service.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "please provide valid ratings JSON"})
			return
		}
		s.put(n, stars)
		service.WriteJSON(w, http.StatusOK, answer{n, stars, id})
	})
	return service.Named(id, mux)
}

func product(w http.ResponseWriter, r *http.Request) (int, bool) {
	n, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		service.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "please provide numeric product ID"})
	}
	return n, err == nil
}
