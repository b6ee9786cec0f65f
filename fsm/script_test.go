package fsm

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

// The scripts in testdata show every command of the log, what it answers and
// what it leaves behind:
//
//	apply [at=MS]     a log entry with the commands of the following lines
//	check             what View.Check says to these commands; nothing is written
//	peek Q [after=N] [limit=N] [bytes=N]
//	queue Q           the queue's numbers; Q is owner[:device][@channel]
//	rows              how many rows each table has
//	setting NAME
//	account NAME      what readers see of an account
//	session TOKEN     and of a session
//	secret NAME
//	channels ACCOUNT
//	statements ACCOUNT   what it has said of devices that it revoked, and of its end
//	group ID          what readers see of a group
//	keeps ACCOUNT     what counts for an account in group records
//	nodekeys          what readers see of nodes' keys
//	keys A[:D]        a device's key packages and hybrid key
//	due at=MS         whether there is something to expire
//	restart           closes and opens the store
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	must(t, err)
	if len(files) == 0 {
		t.Fatal("there are no scripts")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			s := &script{opts: testOptions(vfs.NewMem()), stamp: 1_000_000, index: 1}
			s.store = openTest(t, s.opts)
			datadriven.RunTest(t, file, s.run)
			closeTest(t, s.store)
		})
	}
}

type script struct {
	opts  Options
	store *Store
	stamp uint64 // of the next apply without at
	index uint64
	ids   int
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	switch d.Cmd {
	case "apply":
		return s.apply(t, d)
	case "check":
		return s.check(t, d)
	case "restart":
		closeTest(t, s.store)
		s.store = openTest(t, s.opts)
		return fmt.Sprintf("index %d\n", s.store.Index())
	}
	v, err := s.store.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	switch d.Cmd {
	case "peek":
		return s.peek(t, d, v)
	case "queue":
		stats, err := v.Queue(queueID(t, d.CmdArgs[0].Key))
		must(t, err)
		return fmt.Sprintf("first=%d last=%d envelopes=%d bytes=%d\n", stats.First, stats.Last, stats.Envelopes, stats.Bytes)
	case "rows":
		return countRows(t, v)
	case "account":
		return showAccount(t, v, d.CmdArgs[0].Key)
	case "group":
		return showGroup(t, v, d.CmdArgs[0].Key)
	case "keeps":
		u := groupUsageOf(v, AccountKey(padded(idBytes(t, d.CmdArgs[0].Key, 32))))
		return fmt.Sprintf("%d records, %d bytes\n", u.records, u.bytes)
	case "keys":
		return showKeys(t, v, d.CmdArgs[0].Key)
	case "statements":
		return showStatements(t, v, d.CmdArgs[0].Key)
	case "instance":
		key, device, _ := strings.Cut(d.CmdArgs[0].Key, ":")
		now, err := v.Instance(AccountKey(padded(idBytes(t, key, 32))), DeviceID(padded(idBytes(t, device, 16))[:16]))
		must(t, err)
		return fmt.Sprintf("%d\n", now)
	case "channels":
		return showChannels(t, v, d.CmdArgs[0].Key)
	case "session":
		return showSession(t, v, d.CmdArgs[0].Key)
	case "secret":
		version, wrapped, err := v.Secret(d.CmdArgs[0].Key)
		must(t, err)
		return fmt.Sprintf("%d %s\n", version, wrapped)
	case "nodekeys":
		return showNodeKeys(t, v)
	case "setting":
		value, ok, err := v.Setting(d.CmdArgs[0].Key)
		must(t, err)
		return fmt.Sprintf("%d %v\n", value, ok)
	case "due":
		due, err := v.ExpiryDue(number(t, d, "at", 0))
		must(t, err)
		return fmt.Sprintf("%v\n", due)
	}
	t.Fatalf("%s: unknown directive %q", d.Pos, d.Cmd)
	return ""
}

func number(t *testing.T, d *datadriven.TestData, key string, or uint64) uint64 {
	t.Helper()
	if !d.HasArg(key) {
		return or
	}
	var text string
	d.ScanArgs(t, key, &text)
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

func (s *script) calls(t *testing.T, d *datadriven.TestData) (calls []call, frames [][]byte) {
	t.Helper()
	for line := range strings.SplitSeq(d.Input, "\n") {
		s.ids++
		calls = append(calls, parseCall(t, line, s.ids))
		frames = append(frames, calls[len(calls)-1].frame(t))
	}
	return calls, frames
}

func (s *script) apply(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	s.stamp = number(t, d, "at", s.stamp)
	calls, frames := s.calls(t, d)
	s.index++
	results, err := s.store.Apply([]Log{seal(t, s.index, s.stamp, frames...)})
	must(t, err)
	var out strings.Builder
	for i := range calls {
		fmt.Fprintln(&out, calls[i].show(t, results[0][i]))
	}
	return out.String()
}

func (s *script) check(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	calls, frames := s.calls(t, d)
	v, err := s.store.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	var out strings.Builder
	for i := range calls {
		if r := v.Check(frames[i]); r.Code == schemas.Code_ok {
			out.WriteString("ok\n")
		} else {
			fmt.Fprintln(&out, calls[i].show(t, r))
		}
	}
	return out.String()
}

func (s *script) peek(t *testing.T, d *datadriven.TestData, v *View) string {
	t.Helper()
	list, err := v.Peek(queueID(t, d.CmdArgs[0].Key), number(t, d, "after", 0),
		int(number(t, d, "limit", 100)), int(number(t, d, "bytes", 1<<20)))
	must(t, err)
	if len(list) == 0 {
		return "empty\n"
	}
	var out strings.Builder
	for _, e := range list {
		fmt.Fprintf(&out, "%d at %d:", e.Seq, e.ReceivedAtMs)
		if e.Loss.Count > 0 {
			fmt.Fprintf(&out, " lost %d, %d to %d", e.Loss.Count, e.Loss.First, e.Loss.Last)
			if e.Loss.Expired+e.Loss.Ephemeral > 0 {
				fmt.Fprintf(&out, ": %d expired, %d ephemeral", e.Loss.Expired, e.Loss.Ephemeral)
			}
			if e.Loss.Overflow > 0 {
				fmt.Fprintf(&out, ": %d overflow", e.Loss.Overflow)
			}
			out.WriteByte('\n')
			continue
		}
		if len(e.Header) > 0 {
			fmt.Fprintf(&out, " [%s]", e.Header)
		}
		if len(e.Body) > 40 {
			fmt.Fprintf(&out, " %d bytes\n", len(e.Body))
		} else {
			fmt.Fprintf(&out, " %s\n", e.Body)
		}
	}
	return out.String()
}

var tableNames = [tableEnd]string{
	"meta", "settings", "dedupe", "heads", "envelopes", "bodies", "bodyRefs", "due",
	"timers", "secrets", "accounts", "usernames", "sessions", "sessionsOf", "handshakes",
	"logins", "endpoints", "pools", "packages", "packageHashes", "claims", "hybridKeys",
	"channels", "pairs", "channelsOf", "groups", "groupInfos", "usages", "ends", "statements", "skeletons",
	"instances", "contacts", "shares", "invites", "groupUsages", "nodeKeys", "deniedKeys",
}

func countRows(tb testing.TB, v *View) string {
	tb.Helper()
	counts := map[table]int{}
	must(tb, eachRow(v.snapshot, nil, func(key, _ []byte) (bool, error) {
		counts[table(key[0])]++
		return true, nil
	}))
	var out strings.Builder
	for id := tableMeta; id < tableEnd; id++ {
		if counts[id] > 0 {
			fmt.Fprintf(&out, "%s %d\n", tableNames[id], counts[id])
		}
	}
	return out.String()
}
