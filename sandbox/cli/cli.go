// Package cli is the sandbox's command line.
package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"isthmus.dev/sandbox/daemon"
	"isthmus.dev/sandbox/state"
)

// app is what the commands share.
type app struct {
	dir    state.Dir
	out    io.Writer
	errout io.Writer
}

// Run executes one command line.
func Run(ctx context.Context, args []string, out, errout io.Writer) error {
	a := &app{dir: state.Default, out: out, errout: errout}
	root := &cobra.Command{
		Use:           "sandbox",
		Short:         "Real Kubernetes clusters with Istio on one Linux machine, without containers",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errout)
	root.AddCommand(a.commands()...)
	return root.ExecuteContext(ctx)
}

func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.upCommand(), a.downCommand(), a.statusCommand(), a.kubeconfigCommand(), a.execCommand(),
		a.dnsCommand(), a.trustCommand(), a.imageCommand(), a.cutCommand(), a.healCommand(),
		a.logsCommand(), a.enginesCommand(),
		initCommand(), daemonCommand(), enterCommand(),
	}
}

func (a *app) downCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the sandbox and remove everything of it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context()) },
	}
}

func (a *app) down(ctx context.Context) error {
	s, err := a.dir.Load()
	if err != nil {
		// A killed sandbox leaves files only; "down" removes them too.
		if rm := a.sweep(); rm != nil {
			return rm
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := daemon.Down(ctx, s); err != nil {
		return err
	}
	// An "up" that was not done yet holds the lock until it has noticed.
	for {
		err := a.sweep()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (a *app) statusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show clusters, addresses, names and processes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.dir.Load()
			if err != nil {
				return err
			}
			var st daemon.Status
			if err := a.ask(cmd.Context(), "GET", "/status", nil, &st); err != nil {
				return err
			}
			st.Sandbox = s
			switch output {
			case "json":
				enc := json.NewEncoder(a.out)
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			case "":
				return a.printStatus(st)
			}
			return fmt.Errorf("status: -o %s is not known, only json", output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or nothing for people")
	return cmd
}

func (a *app) printStatus(st daemon.Status) error {
	s := st.Sandbox
	fmt.Fprintf(a.out, "Running since %s, process %d.\n\n", s.Started.Format(time.RFC3339), s.PID)
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "CLUSTER\tREGION\tAPI FROM HERE\tNODES\tLOAD BALANCERS\tREADY\tWAN")
	for _, c := range st.Clusters {
		p := s.Plan.Cluster(c.Name)
		if p == nil {
			continue
		}
		wan := "attached"
		if c.Cut {
			wan = "cut"
		}
		ready := strings.Join(slices.Sorted(maps.Keys(c.Ready)), ",")
		fmt.Fprintf(w, "%s\t%s\thttps://127.0.0.1:%d\t%d\t%s\t%s\t%s\n", c.Name, p.Region, p.HostPort, len(p.Nodes), p.LBNet, ready, wan)
	}
	fmt.Fprintln(w, "\nPROCESS\tPID\tRESTARTS\tLAST EXIT")
	for _, p := range st.Processes {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", p.Name, p.PID, p.Restarts, p.LastExit)
	}
	if len(st.DNS) > 0 {
		fmt.Fprintln(w, "\nNAME\tADDRESS")
		for _, name := range slices.Sorted(maps.Keys(st.DNS)) {
			fmt.Fprintf(w, "%s\t%s\n", name, st.DNS[name])
		}
	}
	return w.Flush()
}

func (a *app) kubeconfigCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "kubeconfig CLUSTER",
		Short: "Print a kubeconfig that works on this machine, or inside when asked inside",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.dir.Load()
			if err != nil {
				return err
			}
			if s.Plan.Cluster(args[0]) == nil {
				return fmt.Errorf("kubeconfig: no cluster %q, only %s", args[0], strings.Join(s.Plan.Names(), ", "))
			}
			file := a.dir.HostKubeconfig(args[0])
			if s.Inside() {
				file = a.dir.Kubeconfig(args[0])
			}
			data, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			_, err = a.out.Write(data)
			return err
		},
	}
}

func (a *app) dnsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dns", Short: "Change the WAN's name server"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "set NAME ADDRESS", Short: "Make a name resolve to an IPv4 address", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.ask(cmd.Context(), "PUT", "/dns/"+url.PathEscape(args[0])+"/"+url.PathEscape(args[1]), nil, nil)
			},
		},
		&cobra.Command{
			Use: "delete NAME", Short: "Make a name unknown", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.ask(cmd.Context(), "DELETE", "/dns/"+url.PathEscape(args[0]), nil, nil)
			},
		},
		&cobra.Command{
			Use: "list", Short: "List the names that were set", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				names := map[string]string{}
				if err := a.ask(cmd.Context(), "GET", "/dns", nil, &names); err != nil {
					return err
				}
				for _, n := range slices.Sorted(maps.Keys(names)) {
					fmt.Fprintln(a.out, n, names[n])
				}
				return nil
			},
		},
	)
	return cmd
}

func (a *app) trustCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "trust", Short: "Change which certificate authorities are trusted inside"}
	cmd.AddCommand(&cobra.Command{
		Use: "add FILE", Short: "Trust the PEM certificates of a file, for every program inside", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			return a.ask(cmd.Context(), "POST", "/trust", f, nil)
		},
	})
	return cmd
}

func (a *app) cutCommand() *cobra.Command {
	return a.clusterCommand("cut", "Take a cluster off the WAN: its packets vanish, established connections included")
}

func (a *app) healCommand() *cobra.Command {
	return a.clusterCommand("heal", "Put a cluster back on the WAN")
}

func (a *app) clusterCommand(verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " CLUSTER", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.ask(cmd.Context(), "POST", "/"+verb+"/"+url.PathEscape(args[0]), nil, nil)
		},
	}
}

// ask sends a request to the running sandbox.
func (a *app) ask(ctx context.Context, method, path string, body io.Reader, into any) error {
	if _, err := a.dir.Load(); err != nil {
		return err
	}
	return daemon.NewClient(a.dir).Do(ctx, method, path, body, into)
}
