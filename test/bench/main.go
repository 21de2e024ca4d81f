// Command bench measures what the design gives a budget, and prints figure, budget and size of the output, beside anchors
// that say how fast this machine, and Istio on it, is at this moment. It marks what is over budget, and fails when an output is empty.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// budget is one line of the table.
type budget struct {
	what string
	// pkg and bench say where the figure comes from; metric is its unit in the benchmark's line.
	pkg, bench, metric string
	// perUnit turns the metric into the unit that is shown.
	perUnit float64
	unit    string
	limit   float64
	// output is the metric that counts what was made; it must not be 0.
	output string
}

// budgets are those of the design that a benchmark measures; the running sandbox is measured by the end-to-end tests.
func budgets() []budget {
	const nsToMS = 1e-6
	return []budget{
		{"full compile to typed objects, 1,000 hosts, one cluster", "./internal/istio", "BenchmarkFull/Typed", "ns/op", nsToMS, "ms", 30, "parts"},
		{"the same with JSON and digests", "./internal/istio", "BenchmarkFull/Encoded", "ns/op", nsToMS, "ms", 150, "parts"},
		{"one change at 1,000 hosts and 50 clusters, to deltas", "./internal/istio", "BenchmarkOneChange", "ns/op", nsToMS, "ms", 2, "objects"},
		{"a cluster joins those, to deltas", "./internal/istio", "BenchmarkJoin/Calls", "ns/op", nsToMS, "ms", 200, "objects"},
		{"one that exposes 20 of the hosts", "./internal/istio", "BenchmarkJoin/Exposes", "ns/op", nsToMS, "ms", 200, "objects"},
		{"1,000 hosts with JWT, CORS and three routes each, to typed objects", "./internal/istio", "BenchmarkGuarded/Typed", "ns/op", nsToMS, "ms", 60, "parts"},
		{"one route edit among them, to deltas", "./internal/istio", "BenchmarkGuarded/OneRoute", "ns/op", nsToMS, "ms", 1, "parts"},
		{"publish to the last of 50 edges answered, p99", "./internal/fleet", "BenchmarkFiftyEdges", "p99-ms", 1, "ms", 50, "bytes/change"},
		{"server memory for each of 50 edges with 300 services", "./internal/server", "BenchmarkMemoryPerEdge", "B/edge", 1.0 / (1 << 20), "MiB", 2, "objects/edge"},
		{"parse, validate and compile 4,000 objects offline", "./internal/compile/offline", "BenchmarkOffline", "ns/op", nsToMS, "ms", 300, "objects"},
		{"of which parse and validate", "./internal/resource", "BenchmarkDecode", "ns/op", nsToMS, "ms", 300, "objects"},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	rows := budgets()
	figures := map[string]map[string]float64{}
	done := map[string]bool{}
	for _, b := range rows {
		if done[b.pkg] {
			continue
		}
		done[b.pkg] = true
		fmt.Fprintf(os.Stderr, "==> %s\n", b.pkg)
		found, err := benchmark(ctx, ".", b.pkg, ".")
		if err != nil {
			return err
		}
		for name, metrics := range found {
			figures[name] = metrics
		}
	}
	anchors := []measured{{"SHA-256 of 64 MiB on this machine, now", hashing()}}
	fmt.Fprintln(os.Stderr, "==> ./test/istio")
	found, err := benchmark(ctx, "test/istio", ".", "^BenchmarkIstiod$")
	if err != nil {
		return err
	}
	istiod := found["BenchmarkIstiod"]
	if istiod["hosts"] == 0 {
		return errors.New("BenchmarkIstiod measured nothing")
	}
	anchors = append(anchors, measured{"istiod, from 1,000 Gateways and VirtualServices to the routes of a pod, now", time.Duration(istiod["ns/op"])})
	return table(rows, figures, anchors)
}

// measured is a figure without a budget.
type measured struct {
	what string
	took time.Duration
}

// benchmark runs those benchmarks of a package whose names match, and returns their metrics by name and unit. The package
// is of the module in dir.
func benchmark(ctx context.Context, dir, pkg, match string) (map[string]map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-run", "^$", "-bench", match, "-benchtime", "1s", pkg)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("benchmarks of %s in %s: %w\n%s", pkg, dir, err, out.String())
	}
	return parse(out.String()), nil
}

// parse reads the lines of go test -bench: a name, a count, then pairs of value and unit.
func parse(output string) map[string]map[string]float64 {
	found := map[string]map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(output)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := fields[0]
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i] // the number of cores
			}
		}
		metrics := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				metrics[fields[i+1]] = v
			}
		}
		found[name] = metrics
	}
	return found
}

// table prints the figures. A figure that is missing or has no output is an error; one that is over budget is marked.
func table(rows []budget, figures map[string]map[string]float64, anchors []measured) error {
	w := tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tFIGURE\tBUDGET\tOUTPUT\t")
	var empty []error
	for _, b := range rows {
		metrics, ok := figures[b.bench]
		if !ok || metrics[b.output] == 0 {
			empty = append(empty, fmt.Errorf("%s measured nothing", b.bench))
			continue
		}
		figure, mark := metrics[b.metric]*b.perUnit, ""
		if figure > b.limit {
			mark = "OVER BUDGET"
		}
		fmt.Fprintf(w, "%s\t%.3g %s\t%g %s\t%.0f %s\t%s\n", b.what, figure, b.unit, b.limit, b.unit, metrics[b.output], b.output, mark)
	}
	for _, a := range anchors {
		fmt.Fprintf(w, "anchor: %s\t%.3g ms\t\t\t\n", a.what, float64(a.took.Microseconds())/1000)
	}
	return errors.Join(append(empty, w.Flush())...)
}

// hashing is the best of five runs of a fixed piece of work.
func hashing() time.Duration {
	data := make([]byte, 64<<20)
	best := time.Hour
	for range 5 {
		start := time.Now()
		sha256.Sum256(data)
		best = min(best, time.Since(start))
	}
	return best
}
