package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"quicproquo/cmd/qpqchaos/internal/chaos"
	"quicproquo/cmd/qpqchaos/internal/netns"
	"quicproquo/cmd/qpqchaos/internal/weakdisk"
	"quicproquo/testcluster"
)

// The test binary is the program where this is set: nodes are processes of it, and a
// simulation needs a process of its own.
const programEnv = "QPQCHAOS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(programEnv) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, args ...string) (s chaos.Summary, notes string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), programEnv+"=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if out.Len() > 0 {
		if err := json.Unmarshal(out.Bytes(), &s); err != nil {
			t.Fatalf("the output is no JSON object: %v\n%s", err, out.String())
		}
	}
	return s, errs.String(), cmd.ProcessState.ExitCode()
}

// A cluster loses nothing at any level, and a scenario that was saved runs again.
func TestRunAndReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("runs clusters in processes of their own for a minute: not what the race detector sees")
	}
	file := filepath.Join(t.TempDir(), "scenario.json")
	powerCuts := [][]string{{
		"run", "--level", "proc", "--disks", "--weak-disks", "--for", "40s", "--seed", "6", "--json",
		"--nemesis", "power-cut,power-cut-all,full-disk,slow-flushes,failing-flushes,failing-writes",
	}}
	if err := cmp.Or(testcluster.LoopDisks(), weakdisk.Possible()); err != nil {
		t.Logf("no power is cut here, and no flush fails: %v", err)
		powerCuts = nil
	}
	hosts := [][]string{{
		"run", "--level", "netns", "--for", "30s", "--seed", "7", "--calm", "1s", "--json", "--mtu", "1280",
		"--nemesis", "isolate-leader,unplugged,narrow-link,small-packets,corrupting,lossy",
	}}
	if err := netns.Possible(); err != nil {
		t.Logf("no node has a host of its own here: %v", err)
		hosts = nil
	}
	for _, c := range []struct {
		name string
		runs [][]string // one after the other
	}{
		{"sim", [][]string{
			{"run", "--level", "sim", "--for", "5m", "--pace", "1s", "--seed", "5", "--json", "--save", file},
			{"replay", file, "--json"},
		}},
		{"proc", [][]string{{
			"run", "--level", "proc", "--for", "40s", "--seed", "5", "--json", "--mtu", "1280", "--other", os.Args[0],
			"--nemesis", "kill-leader,pause-leader,kill-all,isolate-leader,bit-flip,switch-version",
		}}},
		{"disks", powerCuts},
		{"netns", hosts},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // processes wait for elections more than they compute
			if c.runs == nil {
				t.Skip("not on this machine: see above")
			}
			for _, args := range c.runs {
				mustHold(t, args)
			}
		})
	}
}

// mustHold runs the program, which must find nothing and have done something.
func mustHold(t *testing.T, args []string) {
	t.Helper()
	s, notes, code := program(t, args...)
	if code != 0 || !s.OK || !s.Linearizable || s.Lost+s.Duplicated+s.Reordered != 0 || s.UnauthorizedReads != 0 {
		t.Fatalf("qpqchaos %s: exit code %d, %+v\n%s", strings.Join(args, " "), code, s, notes)
	}
	if s.Faults == 0 || s.Acked < 20 || s.Ops <= s.Acked {
		t.Errorf("qpqchaos %s proves little: %+v", strings.Join(args, " "), s)
	}
}

func TestMistakes(t *testing.T) {
	if testing.Short() {
		t.Skip("a process for each, that starts slowly under the race detector and has nothing for it")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"run", "--level", "moon"}, `no level "moon"`},
		{[]string{"run", "--level", "proc", "--nemesis", "power-cut"}, `level proc has no fault "power-cut"; it has all-apart, bit-flip`},
		{[]string{"run", "--workload", "nothing", "--for", "10s"}, `there is no workload "nothing"; there are channel`},
		{[]string{"run", "--nodes", "1"}, "a run needs 3 nodes"},
		{[]string{"run", "--mtu", "1000"}, "QUIC needs paths for IP packets of 1228 bytes"},
		{[]string{"replay", "nowhere.json"}, "no such file"},
	} {
		if _, notes, code := program(t, append(c.args, "--json")...); code != 1 || !strings.Contains(notes, c.want) {
			t.Errorf("qpqchaos %s: exit code %d and %q, want 1 and %q", strings.Join(c.args, " "), code, notes, c.want)
		}
	}
}
