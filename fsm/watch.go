package fsm

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Watch tells that a queue may have something new, or any queue of a device. The
// way to wait without missing anything is to watch first and then to read:
// whatever comes after the read signals C.
type Watch struct {
	// C gets a value when an envelope or a loss marker enters the queue, when a
	// session of its account ends, when the store is restored and when it closes.
	// One value may stand for many changes; what changed is for the reader to
	// find out.
	C <-chan struct{}

	signal chan struct{}
	queue  QueueID
	device bool // every queue of the queue's owner and device
	owner  *watches

	// The rest is guarded by the shard's lock.
	next, prev *Watch
	touched    []ChannelID // of a device's watch: maxTouched at most
	all        bool        // of a device's watch: touched does not say it all
}

// maxTouched is how many queues a device's watch remembers between two calls of
// Take. A device that has more to read looks through all of its queues.
const maxTouched = 16

// Watch begins to watch a queue, which need not exist yet. Stop must be called.
func (s *Store) Watch(q QueueID) *Watch { return s.watch(q, false) }

// WatchDevice begins to watch all queues of a device, those that are yet to come
// as well; the zero device stands for the account's own. Stop must be called.
func (s *Store) WatchDevice(owner AccountKey, device DeviceID) *Watch {
	return s.watch(QueueID{Owner: owner, Device: device}, true)
}

func (s *Store) watch(q QueueID, device bool) *Watch {
	signal := make(chan struct{}, 1)
	w := &Watch{C: signal, signal: signal, queue: q, device: device, owner: &s.watches}
	s.watches.add(w)
	if s.Err() != nil {
		w.wake()
	}
	return w
}

// Watching is how many watches there are.
func (s *Store) Watching() int { return int(s.watches.active.Load()) }

// Stop ends the watch. C gets no further value; one may still be in it.
func (w *Watch) Stop() { w.owner.remove(w) }

// Take appends to list the channels of those queues of the device that have got
// something since the last Take, and forgets them. all: it may be any queue.
func (w *Watch) Take(list []ChannelID) (touched []ChannelID, all bool) {
	shard := w.owner.shard(&w.queue.Owner)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	list, all = append(list, w.touched...), w.all
	w.touched, w.all = nil, false // an idle watch holds no list
	return list, all
}

// note remembers a queue for Take. The caller holds the shard's lock.
func (w *Watch) note(channel ChannelID) {
	switch {
	case w.all || slices.Contains(w.touched, channel):
	case len(w.touched) == maxTouched:
		w.touched, w.all = nil, true
	default:
		w.touched = append(w.touched, channel)
	}
}

func (w *Watch) wake() {
	select {
	case w.signal <- struct{}{}:
	default: // a value is waiting already and will stand for this change too
	}
}

// watches are the watches of a store by account, in shards so that Apply and the
// callers do not wait for each other. They are bounded by the number of callers.
type watches struct {
	active atomic.Int64 // lets Apply pass by while nobody watches
	shards [watchShards]watchShard
}

const watchShards = 64

type watchShard struct {
	mu        sync.Mutex
	byAccount map[AccountKey]*Watch // a list for each account; guarded by mu
}

func (w *watches) shard(owner *AccountKey) *watchShard {
	// Keys are uniformly distributed.
	return &w.shards[(owner[0]^owner[31])%watchShards]
}

func (w *watches) add(one *Watch) {
	shard := w.shard(&one.queue.Owner)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if shard.byAccount == nil {
		shard.byAccount = make(map[AccountKey]*Watch)
	}
	one.next = shard.byAccount[one.queue.Owner]
	if one.next != nil {
		one.next.prev = one
	}
	shard.byAccount[one.queue.Owner] = one
	w.active.Add(1)
}

func (w *watches) remove(one *Watch) {
	shard := w.shard(&one.queue.Owner)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	first := shard.byAccount[one.queue.Owner]
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
		shard.byAccount[one.queue.Owner] = one.next
	default:
		delete(shard.byAccount, one.queue.Owner)
	}
	one.next, one.prev = nil, nil
	w.active.Add(-1)
}

// wake signals everyone who watches the queue or its device.
func (w *watches) wake(q *QueueID) {
	if w.active.Load() == 0 {
		return
	}
	shard := w.shard(&q.Owner)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for one := shard.byAccount[q.Owner]; one != nil; one = one.next {
		switch {
		case one.queue.Device != q.Device:
		case one.device:
			one.note(q.Channel)
			one.wake()
		case one.queue.Channel == q.Channel:
			one.wake()
		}
	}
}

// wakeAccount signals everyone who watches a queue of the account.
func (w *watches) wakeAccount(key AccountKey) {
	if w.active.Load() == 0 {
		return
	}
	shard := w.shard(&key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	for one := shard.byAccount[key]; one != nil; one = one.next {
		one.wake()
	}
}

// wakeAll signals every watch: nothing is known of what changed.
func (w *watches) wakeAll() {
	for i := range w.shards {
		w.shards[i].wakeAll()
	}
}

func (s *watchShard) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.byAccount {
		for ; one != nil; one = one.next {
			one.touched, one.all = nil, one.device
			one.wake()
		}
	}
}
