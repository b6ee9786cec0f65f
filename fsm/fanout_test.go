package fsm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"quicproquo/schemas"
)

// mailroom is the naive second implementation of fan-out: slices and maps, no
// rows, no shared bodies, no caches. It speaks the language of scripts.
type mailroom struct {
	limit   uint64              // envelopes in a queue
	devices map[string][]string // by account; accounts have an entry
	queues  map[string]*mailQueue
}

type mailQueue struct {
	last, acked uint64
	places      []place
}

// place is an envelope, or a loss if first is set.
type place struct {
	seq, first   uint64
	body, header string
}

func (q *mailQueue) count() (n uint64) {
	for _, p := range q.places {
		if p.first == 0 {
			n++
		}
	}
	return n
}

func (q *mailQueue) put(body, header string) uint64 {
	q.last++
	q.places = append(q.places, place{seq: q.last, body: body, header: header})
	return q.last
}

func (q *mailQueue) miss() {
	q.last++
	if n := len(q.places); n > 0 && q.places[n-1].first != 0 {
		q.places[n-1].seq = q.last
		return
	}
	q.places = append(q.places, place{seq: q.last, first: q.last})
}

// ack returns how many envelopes went.
func (q *mailQueue) ack(seq uint64) uint64 {
	before := q.count()
	q.acked = max(q.acked, seq)
	q.places = slices.DeleteFunc(q.places, func(p place) bool { return p.seq <= q.acked })
	for i := range q.places {
		if q.places[i].first != 0 {
			q.places[i].first = max(q.places[i].first, q.acked+1)
		}
	}
	return before - q.count()
}

func (p place) show() string {
	text := fmt.Sprintf(" %d:%s", p.seq, p.body)
	if p.first != 0 {
		text = fmt.Sprintf(" %d:lost(%d..%d)", p.seq, p.first, p.seq)
	}
	if p.header != "" {
		text += "[" + p.header + "]"
	}
	return text
}

func (m *mailroom) queue(name string) *mailQueue {
	if m.queues[name] == nil {
		m.queues[name] = &mailQueue{}
	}
	return m.queues[name]
}

// targets are the queues of an address, or why there are none.
func (m *mailroom) targets(address string) (names []string, refused string) {
	account, device, named := strings.Cut(address, ":")
	devices, exists := m.devices[account]
	switch {
	case !exists:
		return nil, "E053"
	case named && !slices.Contains(devices, device):
		return nil, "E030"
	case named || len(devices) == 0:
		return []string{address}, ""
	}
	for _, device := range devices {
		names = append(names, account+":"+device)
	}
	return names, ""
}

// send delivers to those of a recipient's queues that have room.
func (m *mailroom) send(names []string, body, header string) (seq uint64, ok bool) {
	var with []string
	for _, name := range names {
		if m.queue(name).count() < m.limit {
			with = append(with, name)
		}
	}
	if len(with) == 0 {
		return 0, false
	}
	for _, name := range names {
		if !slices.Contains(with, name) {
			m.queue(name).miss()
			continue
		}
		if got := m.queue(name).put(body, header); seq == 0 {
			seq = got
		}
	}
	return seq, true
}

func (m *mailroom) enqueue(to, body string) string {
	names, refused := m.targets(to)
	if refused != "" {
		return refused + " ACCOUNT_NOT_FOUND"
	}
	seq, ok := m.send(names, body, "")
	if !ok {
		return fmt.Sprintf("E012 QUEUE_FULL %d", m.limit)
	}
	return fmt.Sprintf("ok seq=%d", seq)
}

func (m *mailroom) batch(to []string, body string) string {
	var all []string
	for _, address := range to {
		names, _ := m.targets(address)
		all = append(all, names...)
	}
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		return "E052 DUPLICATE_RECIPIENT"
	}
	text := "ok"
	for i, address := range to {
		names, refused := m.targets(address)
		seq, ok := m.send(names, body, fmt.Sprint("h", i))
		switch {
		case refused != "":
			text += " " + refused
		case !ok:
			text += " E012"
		default:
			text += fmt.Sprintf(" seq=%d", seq)
		}
	}
	return text
}

func (m *mailroom) ack(name string, seq uint64) string {
	q := m.queue(name)
	switch {
	case seq > q.last && q.last == 0:
		return "E046 ACK_BEYOND_END"
	case seq > q.last:
		return fmt.Sprintf("E046 ACK_BEYOND_END %d", q.last)
	}
	return fmt.Sprintf("ok removed=%d", q.ack(seq))
}

func (m *mailroom) drain(name string, limit int) string {
	text, q := "ok", m.queue(name)
	took := uint64(0)
	for i, p := range q.places {
		if i < limit {
			text += p.show()
			took = p.seq
		}
	}
	q.ack(took)
	return text
}

func (m *mailroom) register(account, device string) string {
	if slices.Contains(m.devices[account], device) {
		return "ok false"
	}
	m.devices[account] = append(m.devices[account], device)
	return "ok true"
}

func (m *mailroom) revoke(account, device string) string {
	i := slices.Index(m.devices[account], device)
	if i < 0 {
		return "E030 DEVICE_NOT_FOUND"
	}
	m.devices[account] = slices.Delete(m.devices[account], i, i+1)
	q := m.queue(account + ":" + device)
	q.ack(q.last)
	return "ok true"
}

// draw makes a command for the store and the mailroom's answer to it.
func (m *mailroom) draw(t *rapid.T) (line, want string) {
	pick := func(list ...string) string { return rapid.SampledFrom(list).Draw(t, "pick") }
	account, device := pick("ann", "bob", "cat"), pick("phone", "laptop", "tablet")
	body := fmt.Sprint("body", rapid.IntRange(0, 99).Draw(t, "body"))
	own := pick("", device)
	name := account
	if own != "" {
		name += ":" + own
	} else {
		own = "-"
	}
	switch pick("enqueue", "enqueue", "enqueue", "batch", "batch", "ack", "drain", "register", "register", "revoke") {
	case "enqueue":
		to := pick("ann", "bob", "cat", "nobody")
		return fmt.Sprintf("enqueue as=ann to=%s body=%s", to, body), m.enqueue(to, body)
	case "batch":
		addresses := []string{"ann", "bob", "cat", "nobody", "ann:phone", "ann:laptop", "bob:phone", "bob:tablet", "cat:laptop"}
		to := rapid.SliceOfNDistinct(rapid.SampledFrom(addresses), 1, 4, rapid.ID[string]).Draw(t, "to")
		with := make([]string, len(to))
		for i := range to {
			with[i] = fmt.Sprintf("%s/h%d", to[i], i)
		}
		return fmt.Sprintf("batchEnqueue as=bob to=%s body=%s", strings.Join(with, ","), body), m.batch(to, body)
	case "ack":
		seq := rapid.Uint64Range(0, m.queue(name).last+1).Draw(t, "seq")
		return fmt.Sprintf("ack as=%s to=%s device=%s seq=%d", account, account, own, seq), m.ack(name, seq)
	case "drain":
		limit := rapid.IntRange(1, 4).Draw(t, "limit")
		return fmt.Sprintf("drain as=%s to=%s device=%s limit=%d", account, account, own, limit), m.drain(name, limit)
	case "register":
		return fmt.Sprintf("registerDevice as=%s device=%s", account, device), m.register(account, device)
	}
	return fmt.Sprintf("revokeDevice as=%s device=%s", account, device), m.revoke(account, device)
}

// What is sent, missed, acknowledged, drained and revoked leaves the store's queues
// as it leaves a mailroom's that is too simple to be wrong, answer by answer.
func TestFanOutIsTheNaiveOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := openTest(helper(t), testOptions(vfs.NewMem()))
		defer closeTest(helper(t), s)
		m := &mailroom{
			limit:   rapid.Uint64Range(1, 4).Draw(t, "limit"),
			devices: map[string][]string{"ann": nil, "bob": nil, "cat": nil}, queues: map[string]*mailQueue{},
		}
		lines := []string{
			"createAccount name=ann key=ann", "createAccount name=bob key=bob", "createAccount name=cat key=cat",
			fmt.Sprintf("changeSettings queue_max_envelopes=%d", m.limit),
		}
		want := []string{"ok true", "ok true", "ok true", "ok changed=1"}
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			line, answer := m.draw(t)
			lines, want = append(lines, line), append(want, answer)
		}
		applyLines(t, s, lines, want)
		compareQueues(t, s, m)
		auditStore(helper(t), s)
	})
}

// applyLines applies commands, cut into entries and calls at random, and compares
// their answers.
func applyLines(t *rapid.T, s *Store, lines, want []string) {
	index, done := uint64(0), 0
	for done < len(lines) {
		var logs []Log
		var calls [][]call
		for range rapid.IntRange(1, 3).Draw(t, "entries") {
			n := rapid.IntRange(0, min(6, len(lines)-done)).Draw(t, "commands")
			var frames [][]byte
			var of []call
			for _, line := range lines[done : done+n] {
				done++
				c := parseCall(helper(t), line, done)
				of, frames = append(of, c), append(frames, c.frame(helper(t)))
			}
			index++
			logs, calls = append(logs, seal(helper(t), index, 1_000_000+index, frames...)), append(calls, of)
		}
		results, err := s.Apply(logs)
		must(helper(t), err)
		for i := range calls {
			for j, c := range calls[i] {
				if got := c.show(helper(t), results[i][j]); got != want[c.auto-1] {
					t.Fatalf("%s\ngot  %s\nwant %s", lines[c.auto-1], got, want[c.auto-1])
				}
			}
		}
	}
}

func compareQueues(t *rapid.T, s *Store, m *mailroom) {
	v, err := s.View()
	must(helper(t), err)
	defer func() { must(helper(t), v.Close()) }()
	for name, q := range m.queues {
		list, err := v.Peek(queueID(helper(t), name), 0, schemas.MaxFetch, schemas.MaxFetchBytes)
		must(helper(t), err)
		var got, want []place
		for _, e := range list {
			got = append(got, place{seq: e.Seq, first: e.Loss.First, body: string(e.Body), header: string(e.Header)})
		}
		want = append(want, q.places...)
		if !slices.Equal(got, want) {
			t.Errorf("queue %s holds %+v, want %+v", name, got, want)
		}
	}
}
