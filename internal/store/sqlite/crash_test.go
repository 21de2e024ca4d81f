package sqlite_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"isthmus.dev/isthmus/internal/store"
	"isthmus.dev/isthmus/internal/store/sqlite"
)

// childDies tells the test binary to commit, and to be killed before a given statement: "<number> <file>".
const childDies = "ISTHMUS_TEST_SQLITE_DIE"

// dieWhileCommitting makes one commit of several values that a kill -9 interrupts.
func dieWhileCommitting() {
	number, path, _ := strings.Cut(os.Getenv(childDies), " ")
	left, err := strconv.Atoi(number)
	check(err)
	ctx := context.Background()
	l, err := sqlite.Open(ctx, path)
	check(err)
	db, err := store.Open(ctx, l, store.Config{})
	check(err)
	l.BeforeStatement(func() {
		if left--; left < 0 {
			check(syscall.Kill(os.Getpid(), syscall.SIGKILL))
			select {}
		}
	})
	_, err = db.Update(ctx, store.Meta{Who: "child"}, func(tx *store.Tx) error {
		for i := range 3 {
			check(tx.PutPrivate(store.Key(fmt.Sprint("x/", i)), []byte("new")))
		}
		return nil
	})
	check(err)
	fmt.Println("stored")
	check(syscall.Kill(os.Getpid(), syscall.SIGKILL)) // without closing anything
	select {}
}

func check(err error) {
	if err != nil {
		fmt.Println("child:", err)
		os.Exit(1)
	}
}

// TestKilledBetweenStatements: whatever statement a kill -9 comes before, all of the commit is there or nothing, and
// what was acknowledged is there.
func TestKilledBetweenStatements(t *testing.T) {
	for number := 0; ; number++ {
		path := filepath.Join(t.TempDir(), "isthmus.db")
		db := openDB(t, path)
		at, epoch := db.Snapshot().Revision(), db.Epoch()
		closeNow(t, db)

		out, err := child(t, fmt.Sprintf("%s=%d %s", childDies, number, path))
		exit, ok := err.(*exec.ExitError)
		if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("child killed before statement %d: %v, %s", number, err, out)
		}
		stored := strings.Contains(out, "stored")

		db = openDB(t, path)
		var got int
		for i := range 3 {
			if v, ok := db.Private(store.Key(fmt.Sprint("x/", i))); ok && string(v) == "new" {
				got++
			}
		}
		want := 0
		if stored {
			want = 3
		}
		if rev := db.Snapshot().Revision(); got != want || rev != at+int64(want/3) {
			t.Errorf("killed before statement %d, acknowledged %v: %d of 3 values at revision %d, was at %d", number, stored, got, rev, at)
		}
		if db.Epoch() != epoch {
			t.Errorf("killed before statement %d: a new epoch began", number)
		}
		putPrivate(t, db, "goes on")
		closeNow(t, db)
		if stored {
			if number < 10 {
				t.Errorf("the commit took %d statements only: the test has seen too little", number)
			}
			return
		}
	}
}

// TestKilledUnderLoad kills a process that commits as fast as it can, at no particular moment.
func TestKilledUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "isthmus.db")
	for round := range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childLoads+"="+path)
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var last, n int64
		for n < int64(50+round*37) {
			if _, err := fmt.Fscan(pipe, &last); err != nil {
				t.Fatalf("child after revision %d: %v", last, err)
			}
			n++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for { // what it said before it died counts
			var more int64
			if _, err := fmt.Fscan(pipe, &more); err != nil {
				break
			}
			last = max(last, more)
		}
		_ = cmd.Wait()

		db := openDB(t, path)
		if rev := db.Snapshot().Revision(); rev < last {
			t.Errorf("revision %d after a crash, but %d was acknowledged", rev, last)
		}
		a, _ := db.Private("x/a")
		b, _ := db.Private("x/b")
		if string(a) != string(b) || len(a) == 0 {
			t.Errorf("half a commit: a is %q and b is %q", a, b)
		}
		closeNow(t, db)
	}
}

// childLoads tells the test binary to commit to a file until it is killed, and to print each revision.
const childLoads = "ISTHMUS_TEST_SQLITE_LOAD"

func commitForEver() {
	ctx := context.Background()
	l, err := sqlite.Open(ctx, os.Getenv(childLoads))
	check(err)
	db, err := store.Open(ctx, l, store.Config{})
	check(err)
	for i := 0; ; i++ {
		s, err := db.Update(ctx, store.Meta{Who: "child"}, func(tx *store.Tx) error {
			v := []byte(fmt.Sprint(tx.Revision()))
			check(tx.PutPrivate("x/a", v))
			return tx.PutPrivate("x/b", v)
		})
		check(err)
		fmt.Println(s.Revision())
	}
}
