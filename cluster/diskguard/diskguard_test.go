package diskguard

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Writes stop below the minimum and come back only when clearly more is free;
// the ballast is kept while there is room and thrown out when there is none.
func TestGuardFollowsTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var percent atomic.Uint64
		percent.Store(50)
		g, err := Open(Options{Dir: dir, MinFree: 0.10, Measure: func(string) (Usage, error) {
			return Usage{Total: 1 << 30, Free: percent.Load() * (1 << 30) / 100}, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		ballast := func() bool {
			_, err := os.Stat(filepath.Join(dir, ballastFile))
			return err == nil
		}
		for _, step := range []struct {
			percent           uint64
			readOnly, ballast bool
		}{
			{50, false, true},
			{11, false, true},
			{9, true, true},
			{11, true, true},
			{13, false, true},
			{1, true, false},
			{11, true, false},
			{40, false, true},
		} {
			percent.Store(step.percent)
			time.Sleep(2 * Interval)
			synctest.Wait()
			if g.ReadOnly() != step.readOnly || ballast() != step.ballast {
				t.Errorf("at %d%% free: read-only %v, ballast %v; want %v, %v",
					step.percent, g.ReadOnly(), ballast(), step.readOnly, step.ballast)
			}
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// A disk that can't be measured is an error at the start.
func TestGuardNeedsAMeasure(t *testing.T) {
	broken := errors.New("no disk")
	if _, err := Open(Options{Dir: t.TempDir(), Measure: func(string) (Usage, error) { return Usage{}, broken }}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the measure's error", err)
	}
	if _, err := Open(Options{Dir: t.TempDir(), Measure: func(string) (Usage, error) { return Usage{}, nil }}); err == nil {
		t.Error("a disk without a size was taken")
	}
	if _, err := Statfs("/no/such/directory"); err == nil {
		t.Error("a missing directory was measured")
	}
}

// The share that is free is df's: room that a file system keeps for others is neither
// free nor part of the whole, so that a disk with a large reserve is not full from the
// first day.
func TestStatfsAgreesWithDf(t *testing.T) {
	dir := t.TempDir()
	out, err := exec.Command("df", "--block-size=1", "--output=used,avail", dir).Output()
	if err != nil {
		t.Skip("this system has no df of coreutils: ", err)
	}
	var used, avail uint64
	if _, err := fmt.Sscan(string(bytes.SplitN(out, []byte("\n"), 2)[1]), &used, &avail); err != nil {
		t.Fatalf("read df's answer %q: %v", out, err)
	}
	got, err := Statfs(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Others write meanwhile: one percent either way.
	if want := float64(used + avail); math.Abs(float64(got.Total)/want-1) > 0.01 {
		t.Errorf("total %d bytes, want df's used and available, %.0f", got.Total, want)
	}
}
