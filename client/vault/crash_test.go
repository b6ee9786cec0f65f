package vault

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"quicproquo/client/internal/crashpoint"
)

// The environment of a child that kills itself.
const (
	crashDir = "QPQ_VAULT_CRASH_DIR"
	crashAt  = "QPQ_VAULT_CRASH_AT" // a number of a point, or with "disk " before it of an operation of the disk
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		crashChild(dir, os.Getenv(crashAt))
		return
	}
	os.Exit(m.Run())
}

// steps is the scripted workload. Each Update adds exactly the notes that its name
// stands for, so that the notes tell which Updates are there.
const steps = 12

// step is one Update of the workload: step i writes i+1 notes with its number, some
// of them long, moves a counter and deletes what the step three before it wrote.
func step(i int) func(*Tx) error {
	return func(tx *Tx) error {
		for n := range i + 1 {
			text := fmt.Sprintf("step %d note %d", i, n)
			if i%4 == 3 {
				text += strings.Repeat(" long", 20_000)
			}
			if err := add(text)(tx); err != nil {
				return err
			}
		}
		if err := tx.run("DELETE FROM note WHERE text LIKE ?", fmt.Sprintf("step %d note%%", i-3)); err != nil {
			return err
		}
		return tx.run("INSERT OR REPLACE INTO meta (name, value) VALUES ('step', ?)", i)
	}
}

// crashChild runs the workload and dies at the n-th point. What Update and the
// others have acknowledged it says on stdout.
func crashChild(dir, at string) {
	var die, points int
	s := withNotes
	if _, err := fmt.Sscanf(at, "disk %d", &die); err == nil {
		s.base, die = newFaultFS(killAt(die)), 0
	} else {
		_, _ = fmt.Sscan(at, &die)
	}
	crashpoint.Set(func(p crashpoint.Point) {
		if points++; points == die {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	})
	if err := crashWork(s, dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("points", points)
}

func crashWork(s settings, dir string) error {
	v, err := s.create(dir, testKey(1))
	if err != nil {
		return err
	}
	fmt.Println("created")
	for i := range steps {
		if err := v.Update(step(i)); err != nil {
			return err
		}
		fmt.Println("step", i)
		switch i {
		case 3, 7:
			err = v.Scrub()
		case 5:
			err = v.Rekey(testKey(2))
			fmt.Println("rekeyed", err == nil)
		case 9:
			err = v.Close()
			if err == nil {
				v, err = s.open(dir, testKey(2))
			}
		}
		if err != nil {
			return err
		}
	}
	return v.Close()
}

// A process that is killed at any transaction boundary, checkpoint or rename leaves
// a vault that opens and has all that was acknowledged; what was not is there wholly
// or not at all.
func TestKilledAnywhere(t *testing.T) {
	if testing.Short() {
		t.Skip("other processes are killed: go test without -short runs it, the race detector has nothing to see")
	}
	seen := 0
	for n := 1; ; n++ {
		dir := filepath.Join(t.TempDir(), "vault")
		said, killed := runChild(t, dir, fmt.Sprint(n))
		checkSurvivor(t, n, dir, said)
		if !killed {
			break
		}
		seen++
		if t.Failed() {
			return
		}
	}
	t.Logf("killed at %d points", seen)
	if seen < 4+2*steps {
		t.Errorf("only %d points", seen)
	}
}

// The same holds in the midst of a commit: after any of the disk's operations. Each
// run of the test takes others of them.
func TestKilledBetweenWrites(t *testing.T) {
	if testing.Short() {
		t.Skip("other processes are killed: go test without -short runs it, the race detector has nothing to see")
	}
	const stride = 149
	seen := 0
	for n := 1 + rand.IntN(stride); ; n += stride {
		dir := filepath.Join(t.TempDir(), "vault")
		said, killed := runChild(t, dir, fmt.Sprint("disk ", n))
		checkSurvivor(t, n, dir, said)
		if !killed || t.Failed() {
			break
		}
		seen++
	}
	t.Logf("killed at %d of about %d operations", seen, seen*stride)
	if seen < 4 && !t.Failed() {
		t.Errorf("killed at only %d places, want 4 at least: the workload has become too short, or the stride too long", seen)
	}
}

// acknowledged is what the child said before it died.
type acknowledged struct {
	created, rekeyed bool
	last             int // step, -1 for none
}

func runChild(t *testing.T, dir, at string) (said acknowledged, killed bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashDir+"="+dir, crashAt+"="+at)
	out, err := child.Output()
	said.last = -1
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == "created":
			said.created = true
		case text == "rekeyed true":
			said.rekeyed = true
		case strings.HasPrefix(text, "step "):
			_, _ = fmt.Sscanf(text, "step %d", &said.last)
		case strings.HasPrefix(text, "error"):
			t.Fatal(text)
		}
	}
	exit, died := errors.AsType[*exec.ExitError](err)
	if err != nil && (!died || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatal(err)
	}
	return said, died
}

func checkSurvivor(t *testing.T, n int, dir string, said acknowledged) {
	t.Helper()
	v, err := withNotes.open(dir, testKey(1))
	if errors.Is(err, ErrWrongKey) {
		v, err = withNotes.open(dir, testKey(2))
	} else if err == nil && said.rekeyed {
		t.Errorf("point %d: the old key opens", n)
	}
	if errors.Is(err, ErrMissing) && !said.created {
		if v, err = withNotes.create(dir, testKey(1)); err != nil {
			t.Errorf("point %d: can't create after an interrupted Create: %v", n, err)
			return
		}
	}
	if err != nil {
		t.Errorf("point %d: %v", n, err)
		return
	}
	defer v.Close()
	last := -1
	err = v.View(func(tx *Tx) error {
		_, err := tx.one("SELECT value FROM meta WHERE name = 'step'", func(r *row) { last = int(r.int64(0)) })
		return err
	})
	if err != nil {
		t.Errorf("point %d: %v", n, err)
	}
	if last != said.last && last != said.last+1 {
		t.Errorf("point %d: step %d was acknowledged, %d is there", n, said.last, last)
	}
	var want []string
	for i := max(0, last-2); i <= last; i++ {
		for k := range i + 1 {
			want = append(want, fmt.Sprintf("step %d note %d", i, k))
		}
	}
	got := notes(t, v)
	for i, text := range got {
		got[i] = strings.ReplaceAll(text, " long", "")
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("point %d: notes %v, not %v", n, got, want)
	}
	if err := v.Check(); err != nil {
		t.Errorf("point %d: %v", n, err)
	}
	if err := v.Update(step(last + 1)); err != nil {
		t.Errorf("point %d: %v", n, err)
	}
}
