package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A process that ends is started again, with its exit in status and log; all
// of them end with their context.
func TestRestart(t *testing.T) {
	logs := t.TempDir()
	s := New(logs, os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := s.Start(ctx, Spec{Name: "c/short", Path: "/bin/sh", Args: []string{"-c", "echo started; exit 3"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx, Spec{Name: "long", Path: "/bin/sleep", Args: []string{"1000"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(ctx, Spec{Name: "long", Path: "/bin/sleep", Args: []string{"1000"}}); err == nil {
		t.Error("a name was used twice")
	}
	if err := s.Start(ctx, Spec{Name: "nothing", Path: "/no/such/program"}); err == nil {
		t.Error("a program that does not exist was started")
	}
	deadline := time.Now().Add(10 * time.Second)
	for s.List()[0].Restarts == 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	short := s.List()[0]
	if short.Name != "c/short" || short.Restarts == 0 || short.LastExit != "exit status 3" {
		t.Errorf("status is %+v, want restarts and exit status 3", short)
	}
	// A program that was started again has not said so yet.
	log, err := os.ReadFile(filepath.Join(logs, "c", "short.log"))
	for strings.Count(string(log), "started\n") < 2 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		log, err = os.ReadFile(filepath.Join(logs, "c", "short.log"))
	}
	if err != nil || strings.Count(string(log), "started\n") < 2 {
		t.Errorf("log: %v\n%s", err, log)
	}
	cancel()
	done := make(chan struct{})
	go func() { s.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("processes outlived their context")
	}
}
