package cri

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// maxLine is where a line of a log is cut into parts, as other runtimes do.
const maxLine = 16 << 10

// output is where a container's streams go: the log of the kubelet's format,
// and whoever is attached.
type output struct {
	path string // empty: no log

	mu       sync.Mutex
	file     *os.File
	watchers map[*watcher]bool
}

// watcher is somebody attached to a container.
type watcher struct {
	out, err io.Writer // nil: not interested
	gone     chan struct{}
	once     sync.Once
}

func (w *watcher) leave() { w.once.Do(func() { close(w.gone) }) }

func newOutput(path string) *output {
	return &output{path: path, watchers: map[*watcher]bool{}}
}

// open starts the log, or starts it again where the file was moved away.
func (o *output) open() error {
	if o.path == "" {
		return nil
	}
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	o.mu.Lock()
	old := o.file
	o.file = f
	o.mu.Unlock()
	if old != nil {
		return old.Close()
	}
	return nil
}

// close ends the log and lets everybody go.
func (o *output) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		o.file.Close()
		o.file = nil
	}
	for w := range o.watchers {
		w.leave()
	}
}

// copy implements sink: it cuts a stream into lines for the log and passes it
// on as it is to those attached.
func (o *output) copy(name streamName, from io.Reader) {
	r := bufio.NewReaderSize(io.TeeReader(from, writerFunc(func(p []byte) { o.tell(name, p) })), maxLine)
	for {
		line, err := r.ReadSlice('\n')
		full, ended := bytes.CutSuffix(line, []byte("\n"))
		if len(line) > 0 {
			// A stream's last line is whole even when it says not so.
			o.log(name, full, ended || err != nil && !errors.Is(err, bufio.ErrBufferFull))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return // end of file, or of the terminal
		}
	}
}

// log writes one entry: "time stream F|P text".
func (o *output) log(name streamName, text []byte, full bool) {
	tag := " P "
	if full {
		tag = " F "
	}
	entry := make([]byte, 0, len(text)+64)
	entry = time.Now().UTC().AppendFormat(entry, time.RFC3339Nano)
	entry = append(entry, ' ')
	entry = append(entry, name...)
	entry = append(entry, tag...)
	entry = append(entry, text...)
	entry = append(entry, '\n')
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		_, _ = o.file.Write(entry) // a full disk must not stop the program
	}
}

// tell passes bytes to those attached; one that cannot take them leaves.
func (o *output) tell(name streamName, p []byte) {
	o.mu.Lock()
	var all []*watcher
	for w := range o.watchers {
		all = append(all, w)
	}
	o.mu.Unlock()
	for _, w := range all {
		to := w.out
		if name == stderr {
			to = w.err
		}
		if to == nil {
			continue
		}
		if _, err := to.Write(p); err != nil {
			w.leave()
		}
	}
}

// watch adds somebody until the returned function is called.
func (o *output) watch(w *watcher) (forget func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchers[w] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.watchers, w)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// writers is a sink without lines: what a command writes goes where it is told.
type writers struct{ out, err io.Writer }

func (w writers) copy(name streamName, from io.Reader) {
	to := w.out
	if name == stderr {
		to = w.err
	}
	if to == nil {
		to = io.Discard
	}
	if _, err := io.Copy(to, from); err != nil {
		_, _ = io.Copy(io.Discard, from) // nobody listens; the program must not notice
	}
}
