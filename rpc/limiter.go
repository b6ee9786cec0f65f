package rpc

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// limiter holds token buckets for any number of callers in bounded memory. A
// bucket is one number, the time at which it is full again (the "theoretical
// arrival time" of ITU-T I.371, Annex A): a bucket that is full says nothing, so
// it is forgotten; a caller who is not in the table has a full bucket.
//
// Keys are hashed under a seed of the process, so that nobody can choose whose
// bucket to share. Two that collide (64 bits) share one: harmless.
type limiter struct {
	start  time.Time // monotonic origin of the numbers
	seed   maphash.Seed
	shards [limiterShards]limiterShard
	// evicted counts buckets that were dropped before they were full, because
	// the table was.
	evicted atomic.Uint64
}

// limiterShard is a part of the table, with its lock.
type limiterShard struct {
	mu   sync.Mutex
	full map[uint64]time.Duration // since start, by the hash of the key
}

const (
	// limiterShards keeps calls of different callers from waiting for each other.
	limiterShards = 64
	// limiterBuckets is how many buckets that are not full a limiter holds at
	// most. One costs about 40 bytes.
	limiterBuckets = 256 << 10
	// limiterSweep is how many buckets are looked at for one that comes new, so
	// that full ones leave as fast as others come.
	limiterSweep = 4
)

func newLimiter(now time.Time) *limiter {
	l := &limiter{start: now, seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].full = map[uint64]time.Duration{}
	}
	return l
}

// bucketKey names a bucket: what is limited, and whom. An address prefix fills
// the first 17 bytes of who, an account and its device all 48.
type bucketKey struct {
	class Class
	who   [48]byte
}

// take takes n tokens of a bucket, or nothing: then wait says when they will be
// there. More than the bucket holds counts as all that it holds.
func (l *limiter) take(key bucketKey, rate Rate, n int, now time.Time) (wait time.Duration) {
	if rate.unlimited() {
		return 0
	}
	cost, depth := time.Duration(min(n, rate.Burst))*rate.Every, time.Duration(rate.Burst)*rate.Every
	at := now.Sub(l.start)
	hash := maphash.Comparable(l.seed, key)
	s := &l.shards[hash%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full, known := s.full[hash]
	full = max(full, at) + cost
	if wait = full - at - depth; wait > 0 {
		return wait
	}
	if !known {
		l.makeRoom(s, at)
	}
	s.full[hash] = full
	return 0
}

// giveBack undoes the take of one token.
func (l *limiter) giveBack(key bucketKey, rate Rate) {
	if rate.unlimited() {
		return
	}
	hash := maphash.Comparable(l.seed, key)
	s := &l.shards[hash%limiterShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if full, known := s.full[hash]; known {
		s.full[hash] = full - rate.Every
	}
}

// makeRoom forgets a few buckets that are full by now and, if the shard has no
// room, of those that it looked at the one that is nearest to being full: its
// owner gains the least. It fails open: an attacker with that many addresses has
// no need to forget one. The caller holds s.mu.
func (l *limiter) makeRoom(s *limiterShard, at time.Duration) {
	looked, nearest, soonest := 0, uint64(0), time.Duration(0)
	for hash, full := range s.full { // in random order
		if full <= at {
			delete(s.full, hash)
		} else if soonest == 0 || full < soonest {
			nearest, soonest = hash, full
		}
		if looked++; looked == limiterSweep {
			break
		}
	}
	if len(s.full) >= limiterBuckets/limiterShards {
		delete(s.full, nearest)
		l.evicted.Add(1)
	}
}

// buckets is how many are held.
func (l *limiter) buckets() int {
	n := 0
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		n += len(s.full)
		s.mu.Unlock()
	}
	return n
}
