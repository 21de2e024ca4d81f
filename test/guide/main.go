// Command guide runs the commands of a documentation page and checks what they print, so that the page is true.
//
//	guide [-shell "bin/sandbox exec wan -- bash"] docs/guide/two-clusters.md
//
// Every ```bash block runs in one shell, so that variables last. A ```output block behind it lists lines that the
// output must contain, in order; "…" stands for anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guide:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("guide", flag.ContinueOnError)
	shell := flags.String("shell", "bash", "command that starts the shell in which the page runs")
	quiet := flags.Bool("quiet", false, "print a line for each block instead of its commands and output")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("which page?")
	}
	for _, path := range flags.Args() {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		blocks, err := parsePage(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := walk(ctx, path, blocks, strings.Fields(*shell), *quiet); err != nil {
			return err
		}
	}
	return nil
}

// walk runs the blocks of one page.
func walk(ctx context.Context, path string, blocks []block, command []string, quiet bool) error {
	sh, err := startShell(ctx, command)
	if err != nil {
		return err
	}
	defer sh.close()
	start, heading := time.Now(), ""
	for _, b := range blocks {
		if b.heading != heading {
			heading = b.heading
			fmt.Printf("\n[%6.1fs] %s\n", time.Since(start).Seconds(), heading)
		}
		if !quiet {
			fmt.Println(indent("$ ", b.code))
		}
		output, err := runBlock(ctx, sh, b)
		if !quiet || err != nil {
			fmt.Print(indent("  ", output), "\n")
		}
		if err != nil {
			return fmt.Errorf("%s:%d: %w", path, b.line, err)
		}
	}
	fmt.Printf("\n[%6.1fs] %s: %d blocks, all as the page says\n", time.Since(start).Seconds(), path, len(blocks))
	return nil
}

// runBlock runs a block until it succeeds or its time is over. It returns the output of the last try.
func runBlock(ctx context.Context, sh *shell, b block) (string, error) {
	deadline := time.Now().Add(b.retry)
	for {
		output, code, err := sh.do(ctx, b.code)
		if err != nil {
			return output, err
		}
		lacks := missing(b.want, output)
		switch {
		case code == 0 && lacks == "":
			return output, nil
		case time.Now().Before(deadline):
			time.Sleep(250 * time.Millisecond)
		case code != 0:
			return output, fmt.Errorf("exit code %d", code)
		default:
			return output, fmt.Errorf("the output lacks the line %q", lacks)
		}
	}
}

// indent puts prefix before every line.
func indent(prefix, text string) string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return ""
	}
	return "    " + prefix + strings.ReplaceAll(text, "\n", "\n    "+strings.Repeat(" ", len(prefix)))
}
