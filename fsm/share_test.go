package fsm

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"quicproquo/schemas"
)

// shared is a store in which mal attacks ann, beside honest accounts: bob is a contact of
// ann's, cat has been answered on a channel, and dan is a stranger to her.
type shared struct {
	t     testing.TB
	store *Store
	index uint64
	now   uint64
	ids   int
}

func openShared(t testing.TB, settings string) *shared {
	t.Helper()
	s := &shared{t: t, store: openTest(t, testOptions(vfs.NewMem())), index: 1, now: 1_000_000}
	lines := []string{"changeSettings feature_level=5" + settings}
	for _, name := range []string{"ann", "bob", "cat", "dan", "mal"} {
		lines = append(lines, fmt.Sprintf("createAccount name=%s key=+%s by=%s", name, name, name))
	}
	s.must(append(lines, "setContacts as=+ann accounts=+bob", "createChannel as=+cat peer=+ann channel=c1",
		"enqueue as=+ann to=+cat channel=c1 body=hello")...)
	return s
}

// do applies a command and returns its result.
func (s *shared) do(line string) Result {
	s.t.Helper()
	s.ids++
	s.index++
	c := parseCall(s.t, line, s.ids)
	results, err := s.store.Apply([]Log{seal(s.t, s.index, s.now, c.frame(s.t))})
	must(s.t, err)
	return results[0][0]
}

func (s *shared) must(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		if r := s.do(line); r.Code != schemas.Code_ok {
			s.t.Fatalf("%s: %s", line, r.Code.ID())
		}
	}
}

// through counts how many of the calls are taken, by the check and by the log alike.
func (s *shared) through(n int, line string) (taken int) {
	s.t.Helper()
	for range n {
		v, err := s.store.View()
		must(s.t, err)
		s.ids++
		c := parseCall(s.t, line, s.ids)
		early := v.Check(c.frame(s.t)).Code
		must(s.t, v.Close())
		r := s.do(line)
		if early != r.Code {
			s.t.Fatalf("%s: the check says %s and the log %s", line, early.ID(), r.Code.ID())
		}
		if r.Code == schemas.Code_ok {
			taken++
		}
	}
	return taken
}

// One account that sends all that it can, as messages and with commits, leaves room for
// everybody else: nine calls of ten of an honest sender get through beside it, and its
// commits. This is the flood that was seen to fill an inbox, as far as it matters here.
func TestOneSenderLeavesRoom(t *testing.T) {
	s := openShared(t, "")
	defer closeTest(t, s.store)
	if n := s.through(24, "enqueue as=+mal to=+ann body=x*1048576"); n == 0 || n > 8 {
		t.Errorf("of 24 MiB of a stranger %d MiB are kept; want some, and 8 at most", n)
	}
	commits := 0
	for i := range 24 {
		r := s.do(fmt.Sprintf("publishCommit as=+mal group=junk%d epoch=1 next=s1 to=+ann body=x*1048576", i))
		msg, err := schemas.Unmarshal(r.Data)
		must(t, err)
		results, err := schemas.ReadRootPublishCommitResults(msg)
		must(t, err)
		outcomes, err := results.Outcomes()
		must(t, err)
		if outcomes.At(0).Code() == schemas.Code_ok {
			commits++
		}
	}
	if commits == 0 || commits > 8 {
		t.Errorf("of 24 commits of a stranger %d are kept; want some, and 8 at most", commits)
	}
	for _, honest := range []string{"bob", "cat", "dan"} {
		if n := s.through(40, "enqueue as=+"+honest+" to=+ann body=y*4096"); n < 36 {
			t.Errorf("beside the flood %d of 40 messages of %s get through; want 36", n, honest)
		}
		line := fmt.Sprintf("publishCommit as=+%s group=%s epoch=1 next=s1 to=+ann body=y*100000", honest, honest)
		if r := s.do(line); r.Code != schemas.Code_ok || r.outcome(t) != schemas.Code_ok {
			t.Errorf("beside the flood a commit of %s is refused: %s, %s", honest, r.Code.ID(), r.outcome(t).ID())
		}
	}
	// What was taken away is the flood's room again.
	if n := s.through(1, "enqueue as=+mal to=+ann body=x*1048576"); n != 0 {
		t.Error("one more of the flood is taken")
	}
	s.must(fmt.Sprintf("ack to=+ann seq=%d", s.head("+ann").last))
	s.through(40, "enqueue as=+bob to=+ann body=y*131072") // the queue is not nearly empty
	if n := s.through(2, "enqueue as=+mal to=+ann body=x*1048576"); n != 2 {
		t.Error("the queue was emptied, and its sender's share is full still")
	}
}

// outcome is that of the first recipient of a publishCommit.
func (r Result) outcome(t testing.TB) schemas.Code {
	t.Helper()
	msg, err := schemas.Unmarshal(r.Data)
	must(t, err)
	results, err := schemas.ReadRootPublishCommitResults(msg)
	must(t, err)
	outcomes, err := results.Outcomes()
	must(t, err)
	return outcomes.At(0).Code()
}

// However many strangers send, contacts have the queue's limits to themselves, and commits
// what messages leave.
func TestStrangersTogetherLeaveRoomForContacts(t *testing.T) {
	s := openShared(t, " queue_max_envelopes=320")
	defer closeTest(t, s.store)
	for i := range 20 {
		name := fmt.Sprintf("sybil%d", i)
		s.must(fmt.Sprintf("createAccount name=%s key=+%s by=%s", name, name, name))
		s.through(40, "enqueue as=+"+name+" to=+ann body=x")
	}
	if h := s.head("+ann"); h.guests != 120 || h.count > 140 {
		t.Errorf("strangers have %d envelopes of %d; want 120 beside the few that are not counted", h.guests, h.count)
	}
	if n := s.through(100, "enqueue as=+bob to=+ann body=y"); n != 100 {
		t.Errorf("%d of 100 messages of a contact get through", n)
	}
	for i := range 20 { // a member of a group who is no contact
		line := fmt.Sprintf("publishCommit as=+dan group=g%d epoch=1 next=s1 to=+ann body=w", i)
		if r := s.do(line); r.outcome(t) != schemas.Code_ok {
			t.Fatalf("commit %d of a stranger is refused: %s", i, r.outcome(t).ID())
		}
	}
	if n := s.through(300, "enqueue as=+bob to=+ann body=y"); n != 60 {
		t.Errorf("one contact gets %d more in; want 60, half of the queue in all", n)
	}
	if n := s.through(300, "enqueue as=+cat to=+ann body=y"); n < 100 || n > 130 {
		t.Errorf("another contact gets %d in; want the rest, up to what is for commits", n)
	}
	if r := s.do("publishCommit as=+cat group=end epoch=1 next=s1 to=+ann body=w"); r.outcome(t) != schemas.Code_ok {
		t.Errorf("the commit of a contact finds the queue full: %s", r.outcome(t).ID())
	}
}

func (s *shared) head(queue string) (h head) {
	v, err := s.store.View()
	must(s.t, err)
	q := queueID(&testing.T{}, queue)
	h, err = v.head(&q)
	must(s.t, err)
	must(s.t, v.Close())
	return h
}

// A device that is away gets no loss to worry about when another floods it: what its
// sender had no share for is told apart from what was lost.
func TestOverflowIsNoLoss(t *testing.T) {
	s := openShared(t, " queue_max_envelopes=32")
	defer closeTest(t, s.store)
	s.must("registerDevice as=+ann device=phone key=+phone by=ann", "registerDevice as=+ann device=desk key=+desk by=ann")
	for range 30 { // the desk reads, the phone is away
		s.must("enqueue as=+mal to=+ann body=x")
		s.must(fmt.Sprintf("ack to=+ann device=desk seq=%d", s.head("+ann:desk").last))
	}
	v, err := s.store.View()
	must(t, err)
	list, err := v.Peek(queueID(t, "+ann:phone"), 0, 100, 1<<20)
	must(t, err)
	must(t, v.Close())
	end := list[len(list)-1].Loss
	if end.Count == 0 || end.Overflow != end.Count {
		t.Errorf("the phone is told of %+v; want as many of overflow as are gone", end)
	}
	// What a contact has no room for because the queue is full is a loss.
	for range 40 {
		s.must("enqueue as=+ann to=+ann body=own")
		s.must(fmt.Sprintf("ack to=+ann device=desk seq=%d", s.head("+ann:desk").last))
	}
	v, err = s.store.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	list, err = v.Peek(queueID(t, "+ann:phone"), 0, 1000, 1<<20)
	must(t, err)
	if end := list[len(list)-1].Loss; end.Count == 0 || end.Overflow != 0 {
		t.Errorf("the phone's queue is full of the account's own, and it is told of %+v; want a loss that nobody's share explains", end)
	}
}

// A share forgets what the queue has no more, and nothing of what it still has.
func TestShareAfterSomeIsTaken(t *testing.T) {
	s := openShared(t, " queue_max_envelopes=160")
	defer closeTest(t, s.store)
	if n := s.through(40, "enqueue as=+mal to=+ann body=x"); n != 20 {
		t.Fatalf("%d envelopes of a stranger are taken, want 10 that are not counted and a share of 10", n)
	}
	s.must("ack to=+ann seq=11") // the first that was counted
	if n := s.through(40, "enqueue as=+mal to=+ann body=x"); n != 2 {
		t.Errorf("after one that counts was taken %d more have room, want 1 in the share and 1 that is not counted", n)
	}
}

// Whatever a stranger sends, and however its envelopes leave a queue, the queue never
// holds more of them than its share beside those that are not counted; and a queue that
// is emptied takes from it again.
func TestShareHoldsWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := helper(t)
		s := openShared(tb, " queue_max_envelopes=160")
		defer closeTest(tb, s.store)
		var mine []uint64 // numbers of mal's envelopes that were not acknowledged
		for range rapid.IntRange(20, 80).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3, 4, 5:
				ttl := rapid.SampledFrom([]string{"0", "60", "700", "3600"}).Draw(t, "ttl")
				if r := s.do("enqueue as=+mal to=+ann body=x ttl=" + ttl); r.Code == schemas.Code_ok {
					mine = append(mine, s.head("+ann").last)
				}
			case 6, 7:
				s.do("enqueue as=+bob to=+ann body=y")
			case 8:
				h := s.head("+ann")
				seq := rapid.Uint64Range(h.acked, h.last).Draw(t, "ack")
				s.must(fmt.Sprintf("ack to=+ann seq=%d", seq))
				for len(mine) > 0 && mine[0] <= seq {
					mine = mine[1:]
				}
			case 9:
				s.now += rapid.Uint64Range(1, 4_000_000).Draw(t, "pause")
				s.do("expire")
			}
			if h := s.head("+ann"); h.count == 0 {
				mine = nil
			}
			if held := s.holds(mine); held > 10+10 {
				t.Fatalf("the queue holds %d envelopes of a stranger; want 10 that are not counted and a share of 10 at most", held)
			}
		}
		s.must(fmt.Sprintf("ack to=+ann seq=%d", s.head("+ann").last), "enqueue as=+mal to=+ann body=x")
		auditStore(tb, s.store)
	})
}

// holds counts which of the envelopes are in ann's queue.
func (s *shared) holds(seqs []uint64) (n int) {
	v, err := s.store.View()
	must(s.t, err)
	defer func() { must(s.t, v.Close()) }()
	q := queueID(&testing.T{}, "+ann")
	there := map[uint64]bool{}
	must(s.t, eachEnvelope(v.snapshot, &q, 1, s.head("+ann").last, func(seq uint64, e *envelopeRow) bool {
		there[seq] = !e.isMarker()
		return true
	}))
	for _, seq := range seqs {
		if there[seq] {
			n++
		}
	}
	return n
}

// Who is blocked gets the answers of others and nothing through, and wakes nobody.
func TestBlockedIsNotTold(t *testing.T) {
	s := openShared(t, "")
	defer closeTest(t, s.store)
	s.must("enqueue as=+dan to=+ann body=before", "setContacts as=+ann accounts=+mal standing=blocked")
	watch := s.store.Watch(queueID(t, "+ann"))
	defer watch.Stop()
	for i := range 3 {
		r := s.do("enqueue as=+mal to=+ann body=x")
		if r.Code != schemas.Code_ok || string(r.Data) != string(s.store.tx.numberResult(uint64(2+i)).Data) {
			t.Errorf("a blocked account is answered %s %x", r.Code.ID(), r.Data)
		}
	}
	select {
	case <-watch.C:
		t.Error("what was dropped has woken a reader")
	default:
	}
	if h := s.head("+ann"); h.count != 1 || h.last != 4 {
		t.Errorf("the queue has %d envelopes up to %d; want the one of before, up to 4", h.count, h.last)
	}
	s.must("setContacts as=+ann accounts=+mal standing=stranger", "enqueue as=+mal to=+ann body=x")
	if h := s.head("+ann"); h.count != 2 {
		t.Errorf("who is not blocked any more has %d envelopes in the queue; want 1 beside another's", h.count)
	}
}
