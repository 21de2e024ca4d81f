// Command reviews is bookinfo's reviews service. SERVICE_VERSION chooses what it shows beside the reviews: v1
// nothing, v2 black stars, v3 red stars; ENABLE_RATINGS and STAR_COLOR say the same one by one.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"isthmus.dev/isthmus/examples/bookinfo/service"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := service.Run(ctx, os.Args[1:], handler(os.Getenv)); err != nil {
		fmt.Fprintln(os.Stderr, "reviews:", err)
		os.Exit(1)
	}
}

type answer struct {
	ID string `json:"id"`
	// PodName and ClusterName are the names that readers of the well-known reviews service expect.
	PodName     string   `json:"podname"`
	ClusterName string   `json:"clustername"`
	Reviews     []review `json:"reviews"`
	// Ratings says which ratings replica was asked, if any.
	Ratings *service.Identity `json:"ratings,omitempty"`
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

// look is how this version shows ratings.
type look struct {
	ratings bool
	color   string
}

func lookFrom(env service.Getenv, version string) look {
	l := look{color: "black"}
	switch version {
	case "v2":
		l.ratings = true
	case "v3":
		l = look{ratings: true, color: "red"}
	}
	if on, err := strconv.ParseBool(env("ENABLE_RATINGS")); err == nil {
		l.ratings = on
	}
	l.color = cmp.Or(env("STAR_COLOR"), l.color)
	return l
}

// patience is how long the ratings may take: black stars wait longer, as in the well-known service.
func (l look) patience() time.Duration {
	if l.color == "black" {
		return 10 * time.Second
	}
	return 2500 * time.Millisecond
}

func handler(env service.Getenv) http.Handler {
	id := service.IdentityFrom(env)
	l := lookFrom(env, id.Version)
	ratings := "http://" + service.Address(env, "RATINGS", "ratings") + "/ratings/"
	var call service.Caller

	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", service.Health("Reviews"))
	mux.HandleFunc("GET /reviews/{id}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			service.WriteJSON(w, http.StatusBadRequest, map[string]string{"error": "please provide numeric product id"})
			return
		}
		a := answer{
			ID: strconv.Itoa(n), PodName: id.Pod, ClusterName: id.Cluster, Identity: id,
			Reviews: []review{
				{Reviewer: "Reviewer1", Text: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"},
				{Reviewer: "Reviewer2", Text: "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare."},
			},
		}
		if l.ratings {
			var got ratingsAnswer
			err := call.JSON(r, ratings+a.ID, l.patience(), &got)
			a.rate(got, l.color, err)
		}
		service.WriteJSON(w, http.StatusOK, a)
	})
	return service.Named(id, mux)
}

// ratingsAnswer is what the ratings service says.
type ratingsAnswer struct {
	Ratings map[string]int `json:"ratings"`
	service.Identity
}

// rate puts the stars beside the reviews, or says that there are none.
func (a *answer) rate(got ratingsAnswer, color string, err error) {
	for i := range a.Reviews {
		a.Reviews[i].Rating = &rating{Stars: got.Ratings[a.Reviews[i].Reviewer], Color: color}
		if err != nil {
			a.Reviews[i].Rating = &rating{Error: "Ratings service is currently unavailable"}
		}
	}
	if err == nil {
		a.Ratings = &got.Identity
	}
}
