// Command ratelimit counts requests for the gateways of one cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/isthmus/internal/ratelimit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := ratelimit.ParseFlags(os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = ratelimit.Run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ratelimit:", err)
		if _, ok := errors.AsType[*ratelimit.UsageError](err); ok {
			os.Exit(2)
		}
		os.Exit(1)
	}
}
