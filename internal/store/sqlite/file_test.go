package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
)

// childFile tells the test binary to open a database and to say how that went.
const childFile = "ISTHMUS_TEST_SQLITE_OPEN"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childFile) != "":
		l, err := sqlite.Open(context.Background(), os.Getenv(childFile))
		fmt.Println("in use:", errors.Is(err, store.ErrInUse), err)
		if l != nil {
			_ = l.Close()
		}
	case os.Getenv(childLoads) != "":
		commitForEver()
	case os.Getenv(childDies) != "":
		dieWhileCommitting()
	default:
		os.Exit(m.Run())
	}
}

func child(t *testing.T, env string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func openDB(t *testing.T, path string) *store.DB {
	t.Helper()
	l, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), l, store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func putPrivate(t testing.TB, db *store.DB, values ...string) {
	t.Helper()
	if _, err := db.Update(t.Context(), store.Meta{Who: "test"}, func(tx *store.Tx) error {
		for _, v := range values {
			if err := tx.PutPrivate(store.Key("x/"+v), []byte(v)); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file?with #odd%20name.db")
	db := openDB(t, path)
	putPrivate(t, db, "a")
	out, err := child(t, childFile+"="+path)
	if err != nil || !strings.Contains(out, "in use: true") || !strings.Contains(out, path) {
		t.Errorf("a second process says %q, %v; want that %s is in use", out, err, path)
	}
	if _, err := sqlite.Open(t.Context(), path); !errors.Is(err, store.ErrInUse) {
		t.Errorf("a second opening in one process: %v, want ErrInUse", err)
	}
	putPrivate(t, db, "b")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, childFile+"="+path); err != nil || !strings.Contains(out, "in use: false <nil>") {
		t.Errorf("after the first one closed: %q, %v", out, err)
	}
}

func TestFilesAreOurs(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, filepath.Join(dir, "isthmus.db"))
	putPrivate(t, db, "a")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatalf("files %v, %v; want the database, its log and its mark", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v; want only its owner to read it", e.Name(), info.Mode(), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	if err := openDB(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	raw(t, newer, "INSERT INTO version VALUES (1000)")
	for name, tc := range map[string]struct{ path, want string }{
		"NotADatabase": {text, "not a database"},
		"NewerTables":  {newer, "use a newer program"},
		"NoDirectory":  {filepath.Join(dir, "none", "isthmus.db"), "no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sqlite.Open(t.Context(), tc.path)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path) {
				t.Errorf("Open(%q): %v, want its name and %q", tc.path, err, tc.want)
			}
		})
	}
}

func raw(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreBeginsEpoch: an older copy in the place of the database is noticed, by whatever way it was made.
func TestRestoreBeginsEpoch(t *testing.T) {
	ctx := t.Context()
	backup := func(t *testing.T, path, copied string) {
		l, err := sqlite.Open(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := l.Backup(ctx, copied); err != nil {
			t.Fatal(err)
		}
	}
	copyFile := func(t *testing.T, from, to string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		save    func(t *testing.T, path, copied string)
		restore func(t *testing.T, copied, path string) (at string)
		same    bool
	}{
		"NothingHappens": {copyFile, func(_ *testing.T, _, path string) string { return path }, true},
		"InPlace":        {copyFile, func(t *testing.T, c, path string) string { copyFile(t, c, path); return path }, false},
		"ByBackup":       {backup, func(t *testing.T, c, path string) string { copyFile(t, c, path); return path }, false},
		"ElsewhereAlone": {backup, func(_ *testing.T, c, _ string) string { return c }, false},
		"MarkLost": {copyFile, func(t *testing.T, _, path string) string {
			if err := os.Remove(path + ".mark"); err != nil {
				t.Fatal(err)
			}
			return path
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			path, copied := filepath.Join(t.TempDir(), "isthmus.db"), filepath.Join(t.TempDir(), "copy.db")
			db := openDB(t, path)
			putPrivate(t, db, "a")
			closeNow(t, db)
			tc.save(t, path, copied)
			db = openDB(t, path)
			first := db.Epoch()
			putPrivate(t, db, "b")
			closeNow(t, db)

			now := tc.restore(t, copied, path)
			db = openDB(t, now)
			if _, ok := db.Private("x/a"); !ok {
				t.Error("the copy lacks what it should have")
			}
			second, at := db.Epoch(), db.Snapshot().Revision()
			if (second == first) != tc.same {
				t.Errorf("epoch %q before, %q after", first, second)
			}
			closeNow(t, db)
			if db = openDB(t, now); db.Epoch() != second || db.Snapshot().Revision() != at {
				t.Errorf("epoch %q at %d after a plain restart, want %q at %d", db.Epoch(), db.Snapshot().Revision(), second, at)
			}
		})
	}
}

func closeNow(t *testing.T, db *store.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
