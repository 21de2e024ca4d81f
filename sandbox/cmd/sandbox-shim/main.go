// Command sandbox-shim turns itself into a container's process. The sandbox's
// container runtime starts it; nobody calls it by hand.
package main

import (
	"fmt"
	"os"
	"runtime"

	"isthmus.dev/sandbox/cri/shim"
)

func main() {
	// Namespaces, capabilities and the parent-death signal belong to a
	// thread: everything here happens on the first one.
	runtime.LockOSThread()
	code, err := shim.Main(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox-shim:", err)
	}
	os.Exit(code)
}
