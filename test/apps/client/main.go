// Client makes the requests of scenarios from where it runs: outside of the clusters, or in a pod. It reads one request
// per line and answers each with a line.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/isthmus/test/scenarios/call"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// run answers until in ends; with the argument "wait" it does nothing until ctx ends, as a pod's container does.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 1 && args[0] == "wait" {
		<-ctx.Done()
		return nil
	}
	client := new(call.Client) // keeps cookies from one request to the next
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var r call.Request
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := e.Encode(client.Do(ctx, r)); err != nil {
			return err
		}
	}
}
