// Command sandbox starts real Kubernetes clusters on one Linux machine,
// without containers.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/sandbox/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := cli.Run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}
