// Command server is the management plane: it stores what users declare, and tells the edges what to run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"isthmus.dev/isthmus/internal/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := server.ParseFlags(os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = server.Run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		if _, ok := errors.AsType[*server.UsageError](err); ok {
			os.Exit(2)
		}
		os.Exit(1)
	}
}
