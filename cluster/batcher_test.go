package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Batches keep order, count and byte limits; a single larger entry travels alone.
func TestBatcherCutsByLimits(t *testing.T) {
	for _, c := range []struct {
		name      string
		sizes     []int
		maxResult int
		want      []int // entries per batch
	}{
		{"count", []int{1, 1, 1, 1, 1}, 0, []int{3, 2}},
		{"bytes", []int{60, 30, 20, 90, 10}, 0, []int{2, 1, 2}},
		{"one too large goes alone", []int{10, 500, 10}, 0, []int{1, 1, 1}},
		{"results travel back together", []int{1, 1, 1, 1}, 60, []int{1, 1, 1, 1}},
		{"small results", []int{10, 40, 10}, 20, []int{3}},
		{"nothing", nil, 0, nil},
	} {
		b := newBatcher(3, 100, 1, logShare)
		for _, size := range c.sizes {
			if err := b.submit(newProposal(make([]byte, size), c.maxResult)); err != nil {
				t.Fatalf("%s: submit: %v", c.name, err)
			}
		}
		var got []int
		for batch := b.take(); len(batch) > 0; batch = b.take() {
			got = append(got, len(batch))
			b.arrived(len(batch))
		}
		if len(got) != len(c.want) {
			t.Fatalf("%s: batches of %v, want %v", c.name, got, c.want)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: batches of %v, want %v", c.name, got, c.want)
			}
		}
	}
}

// While a lane is busy, what arrives gathers into one batch; an idle lane sends
// at once. Every proposal gets exactly one outcome.
func TestBatcherGathersWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(100, 1<<20, 1, logShare)
		var mu sync.Mutex
		var sizes []int
		ctx, cancel := context.WithCancel(t.Context())
		var lanes sync.WaitGroup
		lanes.Go(func() {
			b.run(ctx, func(_ context.Context, batch []*proposal) {
				mu.Lock()
				sizes = append(sizes, len(batch))
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				finish(batch, outcome{state: applied})
			})
		})
		first := newProposal([]byte("a"), 0)
		if err := b.submit(first); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var rest []*proposal
		for range 50 {
			p := newProposal([]byte("b"), 0)
			rest = append(rest, p)
			if err := b.submit(p); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range append(rest, first) {
			if o := <-p.done; o.state != applied {
				t.Errorf("outcome %v, want applied", o.state)
			}
		}
		if len(sizes) != 2 || sizes[0] != 1 || sizes[1] != 50 {
			t.Errorf("batches of %v, want [1 50]", sizes)
		}
		cancel()
		lanes.Wait()
	})
}

// While a batch is on its way the next one goes along only when it is full; what
// waits goes as soon as none is on its way. Without the rule writers split into
// as many small batches as there are lanes.
func TestBatcherSendsFullBatchesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const full = 10
		b := newBatcher(full, 1<<20, 4, logShare)
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan []*proposal, 8)
		release := make(chan struct{})
		var lanes sync.WaitGroup
		for range 4 {
			lanes.Go(func() {
				b.run(ctx, func(_ context.Context, batch []*proposal) {
					sent <- batch
					<-release
					finish(batch, outcome{state: applied})
				})
			})
		}
		var all []*proposal
		submit := func(n int) {
			for range n {
				p := newProposal([]byte("a"), 0)
				all = append(all, p)
				if err := b.submit(p); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
		}
		for i, step := range []struct{ submit, batches, last int }{
			{1, 1, 1},        // nothing is on its way: a lone entry goes at once
			{full - 1, 0, 0}, // waits for more
			{1, 1, full},     // full: goes along
			{3, 0, 0},        // waits again
		} {
			submit(step.submit)
			if got := len(sent); got != step.batches {
				t.Fatalf("step %d: %d batches sent, want %d", i, got, step.batches)
			}
			if step.batches > 0 {
				if got := len(<-sent); got != step.last {
					t.Fatalf("step %d: a batch of %d, want %d", i, got, step.last)
				}
			}
		}
		release <- struct{}{}
		synctest.Wait()
		if len(sent) != 0 {
			t.Fatal("a part of a batch went along with another")
		}
		release <- struct{}{}
		synctest.Wait()
		if len(sent) != 1 || len(<-sent) != 3 {
			t.Fatal("what waited did not go when nothing was on its way")
		}
		close(release)
		for _, p := range all {
			if o := <-p.done; o.state != applied {
				t.Errorf("outcome %v, want applied", o.state)
			}
		}
		cancel()
		lanes.Wait()
	})
}

// A full or closed batcher refuses at once; what waited is told that it was not
// applied.
func TestBatcherRefuses(t *testing.T) {
	b := newBatcher(10, 100, 1, logShare)
	waiting := newProposal([]byte("x"), 0)
	if err := b.submit(waiting); err != nil {
		t.Fatal(err)
	}
	if err := b.submit(newProposal(make([]byte, maxQueuedBytes), 0)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("over the byte limit: %v, want ErrUnavailable", err)
	}
	flood := make([]*proposal, maxQueuedEntries)
	for i := range flood {
		flood[i] = newProposal(nil, 0)
	}
	if err := b.submit(flood...); !errors.Is(err, ErrUnavailable) {
		t.Errorf("over the entry limit: %v, want ErrUnavailable", err)
	}
	b.close()
	if o := <-waiting.done; o.state != refused || !errors.Is(o.err, ErrClosed) {
		t.Errorf("waiting proposal got %v (%v), want refused with ErrClosed", o.state, o.err)
	}
	if err := b.submit(newProposal(nil, 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v, want ErrClosed", err)
	}
}

// A batch goes along with others on their way when it holds a third of what those
// do, and is never smaller than minAlong: many writers end up in four batches, few
// in one.
func TestBatcherSendsAlongWhatIsWorthIt(t *testing.T) {
	b := newBatcher(256, 1<<20, 4, logShare)
	var away []int
	for _, step := range []struct {
		submit int
		arrive bool // all that are on their way
		want   int
	}{
		{submit: 1, want: 1},            // nothing on its way: at once
		{submit: minAlong - 1, want: 0}, // too few to go along
		{submit: 1, want: minAlong},
		{submit: 4 * minAlong, want: 4 * minAlong},
		{submit: 26, want: 0}, // 81 are on their way
		{submit: 1, want: 27},
		{submit: 500, want: 256}, // a full batch always goes
		{submit: 0, want: 244},
		{submit: 100, want: 0}, // 608 are on their way
		{arrive: true, want: 100},
	} {
		for range step.submit {
			if err := b.submit(newProposal([]byte("x"), 0)); err != nil {
				t.Fatal(err)
			}
		}
		if step.arrive {
			for _, n := range away {
				b.arrived(n)
			}
			away = nil
		}
		got := len(b.take())
		if got != step.want {
			t.Fatalf("%+v: took %d while %v were on their way", step, got, away)
		}
		if got > 0 {
			away = append(away, got)
		}
	}
}

// What is forwarded goes along as soon as it has minAlong entries, however many are on
// their way.
func TestBatcherForwardsSoon(t *testing.T) {
	b := newBatcher(256, 1<<20, 16, forwardShare)
	submit := func(n int) {
		for range n {
			if err := b.submit(newProposal([]byte("x"), 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, step := range []struct{ submit, want int }{
		{1, 1}, {200, 200}, {minAlong - 1, 0}, {1, minAlong}, {300, 256}, {0, 44},
	} {
		submit(step.submit)
		if got := len(b.take()); got != step.want {
			t.Errorf("%d more, with %d on their way: a batch of %d, want %d", step.submit, b.away-got, got, step.want)
		}
	}
}
