// Command app is what the sandbox's own test runs in pods: it says who it is
// and fetches what it is told to.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	fmt.Println("listening on :8080")
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		name, _ := os.Hostname()
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s from %s\n", os.Getenv("CLUSTER"), name, peer)
	})
	http.HandleFunc("GET /fetch", fetch)
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

// fetch gets the URL that the caller names and passes on what it answers.
func fetch(w http.ResponseWriter, r *http.Request) {
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(r.URL.Query().Get("url"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	io.Copy(w, resp.Body)
}
