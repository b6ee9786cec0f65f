package fsm

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// audit counts a store's rows from nothing and holds every number that the store
// keeps about them against that.
type audit struct {
	heads  map[QueueID]head
	found  map[QueueID]*head  // counted from envelopes
	places map[QueueID]uint64 // up to where every place is an envelope or lost
	refs   map[uint64]uint64  // to bodies
	bodies map[uint64]bool
	usages map[AccountKey]uint64
	due    map[QueueID]uint64
	kept   map[uint64]uint64 // bodyRefs rows
	pairs  map[[2]AccountKey]ChannelID
	rows   map[ChannelID]channelRow
	lists  map[AccountKey]map[ChannelID]bool
	purges map[QueueID][][2]uint64   // rows that are to go
	keeps  map[AccountKey]groupUsage // counted from groups
	infos  map[string]uint64         // sizes of group infos that count, by group
	usage  map[AccountKey]groupUsage // what the rows say
	spare  []purgedRow
}

// purgedRow is a row that was acknowledged and is still there.
type purgedRow struct {
	queue QueueID
	seq   uint64
}

func auditStore(tb testing.TB, s *Store) *audit {
	tb.Helper()
	a := &audit{
		heads: map[QueueID]head{}, found: map[QueueID]*head{}, places: map[QueueID]uint64{}, refs: map[uint64]uint64{},
		bodies: map[uint64]bool{}, usages: map[AccountKey]uint64{}, due: map[QueueID]uint64{}, kept: map[uint64]uint64{},
		pairs: map[[2]AccountKey]ChannelID{}, rows: map[ChannelID]channelRow{}, lists: map[AccountKey]map[ChannelID]bool{},
		purges: map[QueueID][][2]uint64{},
		keeps:  map[AccountKey]groupUsage{}, infos: map[string]uint64{}, usage: map[AccountKey]groupUsage{},
	}
	v, err := s.View()
	must(tb, err)
	defer func() { must(tb, v.Close()) }()
	must(tb, eachRow(v.snapshot, nil, func(key, value []byte) (bool, error) {
		a.row(tb, key, value)
		return true, nil
	}))
	a.queues(tb)
	a.channels(tb, v)
	if fmt.Sprint(a.keeps) != fmt.Sprint(a.usage) {
		tb.Errorf("the accounts keep %v in group records, their rows say %v", a.keeps, a.usage)
	}
	return a
}

// row takes one row. Heads come before envelopes, in the order of tables.
func (a *audit) row(tb testing.TB, key, value []byte) {
	tb.Helper()
	t, key := table(key[0]), key[1:]
	switch t {
	case tableHeads:
		var h head
		must(tb, h.decode(value))
		q, _, _ := readQueue(key)
		a.heads[q], a.places[q] = h, h.acked
	case tableEnvelopes:
		var e envelopeRow
		must(tb, e.decode(value))
		q, rest, _ := readQueue(key)
		a.envelope(tb, q, binary.BigEndian.Uint64(rest), &e)
	case tableBodies:
		a.bodies[binary.BigEndian.Uint64(key)] = true
	case tableBodyRefs:
		a.kept[binary.BigEndian.Uint64(key)] = le.Uint64(value)
	case tableDue:
		q, _, _ := readQueue(key[8:])
		a.due[q] = binary.BigEndian.Uint64(key)
	case tableTimers:
		if kind := timerKind(key[8]); kind == timerPurge {
			q, from, to, _ := readPurgeKey(key[9:])
			a.purges[q] = append(a.purges[q], [2]uint64{from, to})
		}
	case tableGroups:
		a.group(tb, key, value)
	case tableGroupInfos:
		if size, counts := a.infos[string(key)]; counts && size != uint64(len(value)) {
			tb.Errorf("group %x says that its info has %d bytes, it has %d", key, size, len(value))
		}
	case tableGroupUsages:
		var u groupUsage
		must(tb, u.decode(value))
		a.usage[AccountKey(key)] = u
	case tableUsages:
		a.usages[AccountKey(key)] = le.Uint64(value)
	case tableChannels:
		var c channelRow
		must(tb, c.decode(value))
		a.rows[ChannelID{id: [16]byte(key), some: true}] = c
	case tablePairs:
		a.pairs[[2]AccountKey{AccountKey(key[:32]), AccountKey(key[32:])}] = ChannelID{id: [16]byte(value), some: true}
	case tableChannelsOf:
		member := AccountKey(key[:32])
		if a.lists[member] == nil {
			a.lists[member] = map[ChannelID]bool{}
		}
		a.lists[member][ChannelID{id: [16]byte(key[32:]), some: true}] = true
	default:
	}
}

// group counts a record for its maker and its keeper. Infos come after their groups.
func (a *audit) group(tb testing.TB, id, value []byte) {
	tb.Helper()
	var g groupRow
	must(tb, g.decode(value))
	if g.charge == (groupCharge{}) {
		return
	}
	a.infos[string(id)] = g.charge.bytes
	if g.charge.maker != (AccountKey{}) {
		u := a.keeps[g.charge.maker]
		u.records++
		a.keeps[g.charge.maker] = u
	}
	if g.charge.bytes > 0 {
		u := a.keeps[g.charge.keeper]
		u.bytes += g.charge.bytes
		a.keeps[g.charge.keeper] = u
	}
}

func (a *audit) envelope(tb testing.TB, q QueueID, seq uint64, e *envelopeRow) {
	tb.Helper()
	if seq <= a.heads[q].acked {
		if e.kind == envelopeShared {
			a.refs[e.bodyID]++
		}
		a.spare = append(a.spare, purgedRow{q, seq})
		return
	}
	if a.found[q] == nil {
		a.found[q] = &head{}
	}
	first := seq
	if e.isMarker() {
		first = max(e.first, a.heads[q].acked+1) // what was acknowledged clips it
	} else {
		a.found[q].count++
		a.found[q].bytes += e.size()
		if e.guest {
			a.found[q].guests++
			a.found[q].guestBytes += e.size()
		}
	}
	if first != a.places[q]+1 {
		tb.Errorf("queue %v goes from %d to %d: what was in between is gone without a marker", q, a.places[q], first)
	}
	a.places[q] = seq
	if e.kind == envelopeShared {
		a.found[q].shared++
		a.refs[e.bodyID]++
	}
}

func (a *audit) queues(tb testing.TB) {
	tb.Helper()
	usages := map[AccountKey]uint64{}
	for q, h := range a.heads {
		found := a.found[q]
		if found == nil {
			found = &head{}
		}
		if h.count != found.count || h.bytes != found.bytes || h.shared != found.shared {
			tb.Errorf("queue %v says %d envelopes, %d bytes, %d shared; it holds %d, %d, %d",
				q, h.count, h.bytes, h.shared, found.count, found.bytes, found.shared)
		}
		if h.guests != found.guests || h.guestBytes != found.guestBytes {
			tb.Errorf("queue %v says %d envelopes, %d bytes of strangers; it holds %d, %d",
				q, h.guests, h.guestBytes, found.guests, found.guestBytes)
		}
		if a.places[q] != h.last {
			tb.Errorf("queue %v ends at %d, its head says %d", q, a.places[q], h.last)
		}
		if h.due != a.due[q] {
			tb.Errorf("queue %v is due in %d, its head says %d", q, a.due[q], h.due)
		}
		if steps := h.bytes / usageStep; steps > 0 {
			usages[q.Owner] += steps
		}
	}
	for _, row := range a.spare {
		if !slices.ContainsFunc(a.purges[row.queue], func(r [2]uint64) bool { return r[0] <= row.seq && row.seq <= r[1] }) {
			tb.Errorf("row %d of queue %v was acknowledged, is still there, and nobody will remove it", row.seq, row.queue)
		}
	}
	for q := range a.found {
		if _, ok := a.heads[q]; !ok {
			tb.Errorf("queue %v has envelopes and no head", q)
		}
	}
	if fmt.Sprint(usages) != fmt.Sprint(a.usages) {
		tb.Errorf("the accounts hold %v steps, their rows say %v", usages, a.usages)
	}
	if fmt.Sprint(a.refs) != fmt.Sprint(a.kept) {
		tb.Errorf("bodies are referred to %v times, their rows say %v", a.refs, a.kept)
	}
	for id := range a.bodies {
		if a.refs[id] == 0 {
			tb.Errorf("body %d is in no queue", id)
		}
	}
	if len(a.bodies) != len(a.refs) {
		tb.Errorf("there are %d bodies, and %d are referred to", len(a.bodies), len(a.refs))
	}
}

func (a *audit) channels(tb testing.TB, v *View) {
	tb.Helper()
	if len(a.pairs) != len(a.rows) {
		tb.Errorf("%d pairs have %d channels", len(a.pairs), len(a.rows))
	}
	listed := 0
	for members, id := range a.pairs {
		if bytes.Compare(members[0][:], members[1][:]) >= 0 {
			tb.Errorf("the pair %x, %x is out of order", members[0], members[1])
		}
		if row := a.rows[id]; row.members != members {
			tb.Errorf("the pair of %x has the channel %v of %x", members, id, row.members)
		}
		for _, member := range members {
			_, live, err := v.Account(member)
			must(tb, err)
			if live != a.lists[member][id] {
				tb.Errorf("a member of %v lives: %v, and lists it: %v", id, live, !live)
			}
			if live {
				listed++
			}
		}
	}
	for _, list := range a.lists {
		listed -= len(list)
	}
	if listed != 0 {
		tb.Errorf("accounts list %d channels too many", -listed)
	}
}

// heavyLine is a random command on envelopes large enough to move an account's
// usage, in few queues.
func heavyLine(t *rapid.T) string {
	pick := func(list ...string) string { return rapid.SampledFrom(list).Draw(t, "pick") }
	account := pick("ann", "bob")
	device := pick("-", "phone", "laptop")
	body := pick("x*100", "x*9000", "x*17000", "x*40000")
	switch pick("enqueue", "enqueue", "enqueue", "batch", "batch", "ack", "drain", "expire", "register", "revoke", "found", "commit", "commit") {
	case "found":
		return fmt.Sprintf("publishCommit as=%s group=%s epoch=1 next=s info=%s", account, pick("g", "h", "k"), pick("", "i*30", "i*700"))
	case "commit":
		return fmt.Sprintf("publishCommit as=%s group=%s epoch=%s proof=s next=s info=%s", account, pick("g", "h", "k"), pick("1", "2", "3"), pick("", "i*30", "i*700"))
	case "enqueue":
		return fmt.Sprintf("enqueue as=node to=%s body=%s ttl=%s channel=%s", account, body, pick("60", "4000"), pick("-", "c"))
	case "batch":
		return fmt.Sprintf("batchEnqueue as=node to=%s body=%s ttl=%s", pick("ann,bob", "ann:phone,bob/h*50", "bob:laptop"), body, pick("60", "4000"))
	case "ack":
		return fmt.Sprintf("ack as=node to=%s device=%s seq=%s channel=%s", account, device, pick("1", "2", "3", "5"), pick("-", "c"))
	case "drain":
		return fmt.Sprintf("drain as=node to=%s device=%s limit=%s channel=%s", account, device, pick("1", "2", "0"), pick("-", "c"))
	case "expire":
		return "expire rows=" + pick("0", "1", "3")
	case "register":
		return fmt.Sprintf("registerDevice as=%s device=%s", account, pick("phone", "laptop"))
	}
	return fmt.Sprintf("revokeDevice as=%s device=%s", account, pick("phone", "laptop"))
}

// drawHeavyLogs is drawLogs for heavy lines, with two accounts to begin with.
func drawHeavyLogs(t *rapid.T) []Log {
	lines := []string{"createAccount name=ann key=ann", "createAccount name=bob key=bob"}
	quotas := rapid.IntRange(0, 40).Draw(t, "quotas from") // from the middle of a store's life on, or never
	for i := range rapid.IntRange(1, 60).Draw(t, "commands") {
		if i == quotas {
			lines = append(lines, "changeSettings feature_level=6 group_idle_secs=86400")
		}
		lines = append(lines, heavyLine(t))
	}
	stamp := uint64(1_000_000)
	var logs []Log
	for i := 0; i < len(lines); {
		var frames [][]byte
		for n := rapid.IntRange(1, 4).Draw(t, "in entry"); n > 0 && i < len(lines); n-- {
			c := parseCall(helper(t), lines[i], i+1)
			frames = append(frames, c.frame(helper(t)))
			i++
		}
		stamp += rapid.SampledFrom([]uint64{0, 1000, 70_000}).Draw(t, "time")
		logs = append(logs, seal(helper(t), uint64(len(logs)+1), stamp, frames...))
	}
	return logs
}

// After every entry the store's numbers are what counting its rows gives: counts
// and bytes of queues and accounts, references to bodies, the due table, and the
// three tables of channels. A channel once made stays the pair's.
func TestNumbersAreExact(t *testing.T) {
	t.Run("any", func(t *testing.T) { numbersAreExact(t, drawLogs) })
	t.Run("heavy", func(t *testing.T) { numbersAreExact(t, drawHeavyLogs) })
}

func numbersAreExact(t *testing.T, draw func(*rapid.T) []Log) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		opts := testOptions(vfs.NewMem())
		s := openTest(helper(t), opts)
		defer func() { closeTest(helper(t), s) }()
		pairs := map[[2]AccountKey]ChannelID{}
		logs := draw(t)
		for len(logs) > 0 {
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				closeTest(helper(t), s)
				s = openTest(helper(t), opts)
			}
			n := rapid.IntRange(1, min(3, len(logs))).Draw(t, "at once")
			_, err := s.Apply(logs[:n])
			must(helper(t), err)
			logs = logs[n:]
			a := auditStore(helper(t), s)
			for members, id := range pairs {
				if a.pairs[members] != id {
					t.Errorf("the channel %v has become %v", id, a.pairs[members])
				}
			}
			pairs = a.pairs
		}
	})
}
