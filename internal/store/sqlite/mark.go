package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// mark is a small file that remembers which database was here and how far it had got. It is never ahead of the
// database, so that a database behind its mark is an older copy. It is not synced: what a power cut takes from it
// only makes it further behind.
type mark struct {
	file     *os.File
	identity string
}

const markFormat = "%s %020d\n"

// openMark says whether the database, which is at head, is another one than the mark remembers. The mark itself is
// left as it is until the next commit, so that a crash before it does not hide what was found.
func openMark(path, identity string, head int64) (m *mark, restored bool, err error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	var was string
	var at int64
	_, err = fmt.Sscanf(string(text), "%s %d", &was, &at)
	restored = head > 0 && (err != nil || was != identity || at > head)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, false, err
	}
	return &mark{file: f, identity: identity}, restored, nil
}

// set moves the mark. It may fail: then it stays behind, which is what it may always be.
func (m *mark) set(revision int64) {
	_, _ = m.file.WriteAt(fmt.Appendf(nil, markFormat, m.identity, revision), 0)
}

func (m *mark) close() error {
	if m == nil {
		return nil
	}
	return m.file.Close()
}
