// Command productpage is bookinfo's front: it joins details and reviews into a page.
package main

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := service.Run(ctx, os.Args[1:], handler(os.Getenv)); err != nil {
		fmt.Fprintln(os.Stderr, "productpage:", err)
		os.Exit(1)
	}
}

//go:embed page.html
var pageText string

// patience is how long the page waits for each of its parts.
const patience = 3 * time.Second

type product struct {
	ID          int    `json:"id"`
	Title       string `json:"title"`
	Description string `json:"descriptionHtml"`
}

type details struct {
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

type reviews struct {
	ID          string            `json:"id"`
	PodName     string            `json:"podname"`
	ClusterName string            `json:"clustername"`
	Reviews     []review          `json:"reviews"`
	Ratings     *service.Identity `json:"ratings,omitempty"`
	service.Identity
}

type review struct {
	Reviewer string  `json:"reviewer"`
	Text     string  `json:"text"`
	Rating   *rating `json:"rating,omitempty"`
}

type rating struct {
	Stars int    `json:"stars,omitempty"`
	Color string `json:"color,omitempty"`
	Error string `json:"error,omitempty"`
}

// page is what the template shows. A part that did not come has an error in its place.
type page struct {
	Self         service.Identity
	User         string
	Product      product
	Details      details
	DetailsError string
	Reviews      reviews
	ReviewsError string
}

// front is the application: where its parts are, and how it shows them.
type front struct {
	id                        service.Identity
	details, reviews, ratings string
	call                      service.Caller
	page                      *template.Template
	book                      product
}

func handler(env service.Getenv) http.Handler {
	f := &front{
		id:      service.IdentityFrom(env),
		details: "http://" + service.Address(env, "DETAILS", "details") + "/details/",
		reviews: "http://" + service.Address(env, "REVIEWS", "reviews") + "/reviews/",
		ratings: "http://" + service.Address(env, "RATINGS", "ratings") + "/ratings/",
		page: template.Must(template.New("page").Funcs(template.FuncMap{
			"stars": func(n int) []struct{} { return make([]struct{}, max(0, min(n, 5))) },
		}).Parse(pageText)),
		book: product{
			ID: 0, Title: "The Comedy of Errors",
			Description: "Two sets of identical twins, separated at birth, arrive in one city on one day.",
		},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", service.Health("Product page"))
	mux.HandleFunc("GET /{$}", f.showPage)
	mux.HandleFunc("GET /index.html", f.showPage)
	mux.HandleFunc("GET /productpage", f.showPage)
	mux.HandleFunc("POST /login", f.login)
	mux.HandleFunc("GET /logout", f.logout)
	mux.HandleFunc("GET /api/v1/products", f.listProducts)
	mux.HandleFunc("GET /api/v1/products/{id}", func(w http.ResponseWriter, r *http.Request) { f.relay(w, r, f.details) })
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", func(w http.ResponseWriter, r *http.Request) { f.relay(w, r, f.reviews) })
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", func(w http.ResponseWriter, r *http.Request) { f.relay(w, r, f.ratings) })
	return service.Named(f.id, mux)
}

// showPage answers 200 whatever its parts say, as the well-known page does: the page tells which part is missing.
func (f *front) showPage(w http.ResponseWriter, r *http.Request) {
	p := page{Self: f.id, Product: f.book}
	if c, err := r.Cookie("user"); err == nil {
		p.User = c.Value
		r.Header.Set("End-User", c.Value)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.call.JSON(r, f.details+"0", patience, &p.Details); err != nil {
			p.DetailsError = err.Error()
		}
	})
	wg.Go(func() {
		if err := f.call.JSON(r, f.reviews+"0", patience, &p.Reviews); err != nil {
			p.ReviewsError = err.Error()
		}
	})
	wg.Wait()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// An error here means the caller is gone: there is nobody to tell.
	_ = f.page.Execute(w, p)
}

func (f *front) login(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "user", Value: r.PostFormValue("username"), Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/productpage", http.StatusFound)
}

func (f *front) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "user", Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/productpage", http.StatusFound)
}

func (f *front) listProducts(w http.ResponseWriter, _ *http.Request) {
	service.WriteJSON(w, http.StatusOK, []product{f.book})
}

// relay answers with what another application says about a product.
func (f *front) relay(w http.ResponseWriter, r *http.Request, base string) {
	n, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		service.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "please provide numeric product id"})
		return
	}
	var out map[string]any
	if err := f.call.JSON(r, base+strconv.Itoa(n), patience, &out); err != nil {
		service.WriteJSON(w, http.StatusServiceUnavailable, map[string]string{"error": err.Error()})
		return
	}
	service.WriteJSON(w, http.StatusOK, out)
}
