package cluster

import (
	"sync"

	"github.com/hashicorp/raft"
)

// logCache keeps the newest entries of the log in memory, bounded by bytes. raft
// reads every entry that it sends to followers or applies; those are nearly
// always the newest. raft's own cache is bounded by entries, of which one of ours
// may hold a MiB. mu guards the rest.
type logCache struct {
	raft.LogStore

	// mayCut says why the end of the log, from an index on, must not go.
	mayCut func(from uint64) error

	mu sync.RWMutex
	// ring holds the entries [oldest, next) at their index modulo its length.
	ring         [logCacheEntries]*raft.Log
	oldest, next uint64
	bytes        int
}

const (
	// logCacheEntries: without a cache followers that are a little behind cost
	// half the throughput (docs/performance.md).
	logCacheEntries = 2048
	// logCacheBytes is what a follower may be behind and be served from memory:
	// about a second of full load. More counts twice in a heap that is collected
	// when it has doubled.
	logCacheBytes = 32 << 20
)

var (
	_ raft.LogStore          = (*logCache)(nil)
	_ raft.MonotonicLogStore = (*logCache)(nil)
)

func newLogCache(store raft.LogStore, mayCut func(from uint64) error) *logCache {
	return &logCache{LogStore: store, mayCut: mayCut}
}

// IsMonotonic is the store's.
func (c *logCache) IsMonotonic() bool {
	store, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// GetLog reads an entry, from memory if it is there.
func (c *logCache) GetLog(index uint64, log *raft.Log) error {
	c.mu.RLock()
	if index >= c.oldest && index < c.next {
		*log = *c.ring[index%logCacheEntries]
		c.mu.RUnlock()
		return nil
	}
	c.mu.RUnlock()
	return c.LogStore.GetLog(index, log)
}

// StoreLog stores one entry.
func (c *logCache) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

// StoreLogs stores entries, and keeps them once the store has them.
func (c *logCache) StoreLogs(logs []*raft.Log) error {
	if err := c.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		if log.Index != c.next {
			c.clear()
			c.oldest, c.next = log.Index, log.Index
		}
		c.bytes += len(log.Data)
		for c.next > c.oldest && (c.bytes > logCacheBytes || c.next-c.oldest == logCacheEntries) {
			c.drop()
		}
		c.ring[log.Index%logCacheEntries] = log
		c.next++
	}
	return nil
}

// drop forgets the oldest entry. Callers hold mu.
func (c *logCache) drop() {
	place := &c.ring[c.oldest%logCacheEntries]
	c.bytes -= len((*place).Data)
	*place = nil
	c.oldest++
}

// clear forgets everything. Callers hold mu.
func (c *logCache) clear() {
	for c.oldest < c.next {
		c.drop()
	}
	c.oldest, c.next = 0, 0
}

// DeleteRange removes entries, both ends included: from the beginning of the log on what a
// snapshot holds, else the end of it, which a leader does not have.
func (c *logCache) DeleteRange(low, high uint64) error {
	first, err := c.FirstIndex()
	if err != nil {
		return err
	}
	if low > first {
		if err := c.mayCut(low); err != nil {
			return err
		}
	}
	// First: what the store may have lost must not be read here, even if it
	// reports an error.
	c.mu.Lock()
	if low < c.next && high >= c.oldest {
		c.clear()
	}
	c.mu.Unlock()
	return c.LogStore.DeleteRange(low, high)
}
