package edge

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"isthmus.dev/isthmus/internal/apply/applytest"
)

func newLease(c *applytest.Cluster, identity string) *lease {
	return &lease{
		client: leaseClient(c.Dynamic, c.Namespace), name: "l", namespace: c.Namespace, identity: identity, manager: "test",
		life: 15 * time.Second, log: slog.New(slog.DiscardHandler),
	}
}

// act holds the lease until its context ends, and says since when.
func act(acting chan<- string, identity string) func(context.Context) error {
	return func(ctx context.Context) error {
		acting <- identity
		<-ctx.Done()
		return ctx.Err()
	}
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := applytest.NewFake(t, "ns")
		acting := make(chan string, 2)
		ctx, stop := context.WithCancel(t.Context())
		first := make(chan error, 1)
		go func() { first <- newLease(c, "one").hold(ctx, act(acting, "one")) }()
		synctest.Wait()
		if got := <-acting; got != "one" {
			t.Fatalf("%s acts", got)
		}
		ctx2, stop2 := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() { second <- newLease(c, "two").hold(ctx2, act(acting, "two")) }()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(acting) != 0 {
			t.Fatalf("%s acts as well", <-acting)
		}
		stop() // gives the lease back
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("hold() = %v", err)
		}
		start := time.Now()
		<-acting
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("the second acts %v after the first gave the lease back", d)
		}
		stop2()
		<-second
	})
}

func TestLeaseOfADeadHolderExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := applytest.NewFake(t, "ns")
		dead := newLease(c, "dead")
		if ok, err := dead.try(t.Context()); !ok || err != nil {
			t.Fatalf("try() = %v, %v", ok, err)
		}
		ctx, stop := context.WithCancel(t.Context())
		acting, done := make(chan string, 1), make(chan error, 1)
		start := time.Now()
		go func() { done <- newLease(c, "next").hold(ctx, act(acting, "next")) }()
		<-acting
		if d := time.Since(start); d < 15*time.Second || d > 20*time.Second {
			t.Errorf("the next acts after %v, want about the life of the lease", d)
		}
		stop()
		<-done
	})
}

func TestLostLeaseEndsTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := applytest.NewFake(t, "ns")
		acting, done := make(chan string, 1), make(chan error, 1)
		l := newLease(c, "one")
		go func() { done <- l.hold(t.Context(), act(acting, "one")) }()
		<-acting
		u, err := l.client.Get(t.Context(), "l", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(u.Object, "thief", "spec", "holderIdentity"); err != nil {
			t.Fatal(err)
		}
		if _, err := l.client.Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, errLeaseLost) {
			t.Errorf("hold() = %v, want %v", err, errLeaseLost)
		}
	})
}
