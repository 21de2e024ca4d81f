// Command details is bookinfo's details service: what is known about a book.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := service.Run(ctx, os.Args[1:], handler(os.Getenv)); err != nil {
		fmt.Fprintln(os.Stderr, "details:", err)
		os.Exit(1)
	}
}

type book struct {
	ID        int    `json:"id"`
	Author    string `json:"author"`
	Year      int    `json:"year"`
	Type      string `json:"type"`
	Pages     int    `json:"pages"`
	Publisher string `json:"publisher"`
	Language  string `json:"language"`
	ISBN10    string `json:"ISBN-10"`
	ISBN13    string `json:"ISBN-13"`
	service.Identity
}

func handler(env service.Getenv) http.Handler {
	id := service.IdentityFrom(env)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", service.Health("Details"))
	mux.HandleFunc("GET /details/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			service.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "please provide numeric product id"})
			return
		}
		service.WriteJSON(w, http.StatusOK, book{
			ID: n, Author: "William Shakespeare", Year: 1595, Type: "paperback", Pages: 200, Publisher: "PublisherA",
			Language: "English", ISBN10: "1234567890", ISBN13: "123-1234567890", Identity: id,
		})
	})
	return service.Named(id, mux)
}
