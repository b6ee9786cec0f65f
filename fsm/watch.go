package fsm

import (
	"sync"
	"sync/atomic"
)

// Watch tells that a queue may have something new. The way to wait without
// missing anything is to watch first and then to read: whatever comes after the
// read signals C.
type Watch struct {
	// C gets a value when an envelope or a loss marker enters the queue, when the
	// store is restored and when it closes. One value may stand for many
	// changes; what changed is for the reader to find out.
	C <-chan struct{}

	signal chan struct{}
	queue  QueueID
	owner  *watches
	next   *Watch // guarded by the shard's lock
	prev   *Watch
}

// Watch begins to watch a queue, which need not exist yet. Stop must be called.
func (s *Store) Watch(q QueueID) *Watch {
	signal := make(chan struct{}, 1)
	w := &Watch{C: signal, signal: signal, queue: q, owner: &s.watches}
	s.watches.add(w)
	if s.Err() != nil {
		w.wake()
	}
	return w
}

// Stop ends the watch. C gets no further value; one may still be in it.
func (w *Watch) Stop() { w.owner.remove(w) }

func (w *Watch) wake() {
	select {
	case w.signal <- struct{}{}:
	default: // a value is waiting already and will stand for this change too
	}
}

// watches are the watches of a store by queue, in shards so that Apply and the
// callers do not wait for each other. They are bounded by the number of callers.
type watches struct {
	active atomic.Int64 // lets Apply pass by while nobody watches
	shards [watchShards]watchShard
}

const watchShards = 64

type watchShard struct {
	mu      sync.Mutex
	byQueue map[QueueID]*Watch // a list for each queue; guarded by mu
}

func (w *watches) shard(q *QueueID) *watchShard {
	// Owner keys are uniformly distributed; the device tells an account's apart.
	return &w.shards[(q.Owner[0]^q.Owner[31]^q.Device[0])%watchShards]
}

func (w *watches) add(one *Watch) {
	shard := w.shard(&one.queue)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.byQueue == nil {
		shard.byQueue = make(map[QueueID]*Watch)
	}
	one.next = shard.byQueue[one.queue]
	if one.next != nil {
		one.next.prev = one
	}
	shard.byQueue[one.queue] = one
	w.active.Add(1)
}

func (w *watches) remove(one *Watch) {
	shard := w.shard(&one.queue)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	first := shard.byQueue[one.queue]
	if one.prev == nil && first != one {
		return // stopped before
	}
	if one.next != nil {
		one.next.prev = one.prev
	}
	switch {
	case one.prev != nil:
		one.prev.next = one.next
	case one.next != nil:
		shard.byQueue[one.queue] = one.next
	default:
		delete(shard.byQueue, one.queue)
	}
	one.next, one.prev = nil, nil
	w.active.Add(-1)
}

// wake signals everyone who watches the queue.
func (w *watches) wake(q *QueueID) {
	if w.active.Load() == 0 {
		return
	}
	shard := w.shard(q)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for one := shard.byQueue[*q]; one != nil; one = one.next {
		one.wake()
	}
}

// wakeAccount signals everyone who watches a queue of the account.
func (w *watches) wakeAccount(key AccountKey) {
	if w.active.Load() == 0 {
		return
	}
	for i := range w.shards {
		w.shards[i].wakeAccount(key)
	}
}

func (s *watchShard) wakeAccount(key AccountKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for queue, one := range s.byQueue {
		if queue.Owner != key {
			continue
		}
		for ; one != nil; one = one.next {
			one.wake()
		}
	}
}

// wakeAll signals every watch.
func (w *watches) wakeAll() {
	for i := range w.shards {
		w.shards[i].wakeAll()
	}
}

func (s *watchShard) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.byQueue {
		for ; one != nil; one = one.next {
			one.wake()
		}
	}
}
