// Command testprog is what the containers of the runtime's tests run.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// main runs its arguments as commands, one after the other; the first failure
// is the exit code 1.
func main() {
	args := os.Args[1:]
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		take := func() string { // the next argument
			a := args[0]
			args = args[1:]
			return a
		}
		if err := do(name, take); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
	}
}

func do(name string, take func() string) error {
	switch name {
	case "say":
		fmt.Print(take())
	case "complain":
		fmt.Fprint(os.Stderr, take())
	case "long":
		n, err := strconv.Atoi(take())
		fmt.Println(strings.Repeat("x", n))
		return err
	case "exit":
		n, err := strconv.Atoi(take())
		if err != nil {
			return err
		}
		os.Exit(n)
	case "whoami":
		return whoami()
	case "env":
		fmt.Println(strings.Join(slices.Sorted(slices.Values(os.Environ())), "\n"))
	case "cat":
		data, err := os.ReadFile(take())
		fmt.Print(string(data))
		return err
	case "write":
		return os.WriteFile(take(), []byte("written\n"), 0o644)
	case "ls":
		return list(take())
	case "stdin":
		for s := bufio.NewScanner(os.Stdin); s.Scan(); {
			fmt.Println("got", s.Text())
		}
		fmt.Println("end")
	case "sleep":
		time.Sleep(time.Hour)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "graceful":
		return graceful()
	case "child":
		cmd := exec.Command("/testprog", "stubborn")
		return cmd.Start()
	case "serve":
		return serve(take())
	case "dial":
		return dial(take())
	default:
		return fmt.Errorf("no such command")
	}
	return nil
}

func whoami() error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	fmt.Printf("pid=%d uid=%d gid=%d groups=%v host=%s dir=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), groups, host, dir)
	status, err2 := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "CapBnd") || strings.HasPrefix(line, "NoNewPrivs") {
			fmt.Print(line)
		}
	}
	if err == nil {
		err = err2
	}
	return err
}

func list(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		fmt.Println(e.Name())
	}
	return err
}

// graceful ends with 0 when it is asked to.
func graceful() error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("ready")
	<-term
	fmt.Println("bye")
	return nil
}

// serve answers every connection with the address of the caller, then with
// what it is sent.
func serve(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, c.RemoteAddr().(*net.TCPAddr).IP)
			_, _ = io.Copy(c, c)
		}()
	}
}

func dial(address string) error {
	c, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	fmt.Print(line)
	return err
}
