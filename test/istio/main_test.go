package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"istio.io/istio/pilot/pkg/features"
	"istio.io/istio/pkg/log"
)

// work is a directory for what all tests share. Its name is short, because the paths of sockets must be.
var work = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "isthmus")
	if err != nil {
		panic(err) // without a temporary directory nothing here can be tested
	}
	return dir
})

// TestMain sets istiod up as the sandbox does: Envoy as its project publishes it has none of Istio's own filters.
func TestMain(m *testing.M) {
	features.ALPNFilter = false
	features.MetadataExchange = false
	options := log.DefaultOptions()
	options.OutputPaths = []string{filepath.Join(work(), "istiod.log")} // hundreds of lines for each istiod
	if err := log.Configure(options); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(work()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
