package rpc

import (
	"sync"
	"sync/atomic"
	"time"
)

// pool is memory that the calls of all clients share: of requests that arrive, or of
// answers that are taken. Each owner has a share of it that is well below the whole, and
// an eighth of the whole and of each share is for what is small, so that nobody who takes
// much keeps others from little (docs/decisions/0137). Who finds no room takes that of the
// slowest transfer, if one is slow.
type pool struct {
	shares  [ownerKinds]int64 // in bytes; of ownAll: the whole
	dropped atomic.Uint64     // transfers that lost their memory

	mu       sync.Mutex
	holdings map[owner]*holding
	freed    chan struct{} // closed when memory is given back; nil while nobody waits
}

// ownerKind says whose a share is.
type ownerKind uint8

const (
	ownAll ownerKind = iota
	ownConn
	ownAddress
	ownAccount
	ownerKinds
)

// owner is who memory is charged to; who is empty for connections, conn for others.
type owner struct {
	kind ownerKind
	conn *conn
	who  [48]byte
}

// holding is what an owner has of a pool.
type holding struct {
	bytes int64
	holds map[*hold]struct{}
	// calm says until when nobody among the holds needs to be looked for who is slow.
	calm time.Time
}

// hold is what one call has of a pool, and how its transfer goes. Its pool's lock guards
// it, but for moved and lost.
type hold struct {
	owners [ownerKinds]owner
	count  int // of owners
	bytes  int64
	// cut ends the transfer; nil while there is none to be ended.
	cut   func()
	began time.Time    // of the transfer
	moved atomic.Int64 // bytes that arrived or were taken, since began
	lost  atomic.Bool  // its memory went to somebody else: the transfer ends
}

func newPool(whole, ofConn, ofAddress, ofAccount int64) *pool {
	return &pool{
		shares:   [ownerKinds]int64{ownAll: whole, ownConn: ofConn, ownAddress: ofAddress, ownAccount: ofAccount},
		holdings: map[owner]*holding{},
	}
}

// of makes a hold that has nothing yet.
func (h *hold) of(c *conn, account *[48]byte) {
	h.owners[0], h.owners[1] = owner{kind: ownAll}, owner{kind: ownConn, conn: c}
	h.owners[2], h.count = owner{kind: ownAddress, who: c.address}, 3
	if account != nil {
		h.owners[3], h.count = owner{kind: ownAccount, who: *account}, 4
	}
	h.moved.Store(0)
	h.lost.Store(false)
	h.bytes, h.cut = 0, nil
}

// forget lets go of what a hold refers to, when it has been given back.
func (h *hold) forget() {
	clear(h.owners[:])
	h.count, h.cut = 0, nil
}

// take charges n more bytes to a hold, or nothing. full is then whose share has no room.
func (p *pool) take(h *hold, n int64) (ok bool, full ownerKind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tryTake(h, n)
}

func (p *pool) tryTake(h *hold, n int64) (ok bool, full ownerKind) {
	now := time.Now()
	for !h.lost.Load() {
		short := p.short(h, n)
		if short == nil {
			p.charge(h, n)
			return true, 0
		}
		if !p.dropSlowest(p.holdings[*short], h, now) {
			return false, short.kind
		}
	}
	return false, ownAll
}

// takeAnyway is take for what can't be refused.
func (p *pool) takeAnyway(h *hold, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok, _ := p.tryTake(h, n); !ok {
		p.charge(h, n)
	}
}

// short returns the owner of a hold whose share has no room for n more bytes, nil if
// all have.
func (p *pool) short(h *hold, n int64) *owner {
	small := h.bytes+n <= smallHold
	for i := range h.count {
		o := &h.owners[i]
		limit := p.shares[o.kind]
		if p.plantedShares() {
			limit = p.shares[ownAll]
		} else if !small {
			limit -= limit / smallShare
		}
		have := int64(0)
		if holding := p.holdings[*o]; holding != nil {
			have = holding.bytes
		}
		if have+n > limit {
			return o
		}
	}
	return nil
}

func (p *pool) charge(h *hold, n int64) {
	h.bytes += n
	for _, o := range h.owners[:h.count] {
		have := p.holdings[o]
		if have == nil {
			have = &holding{holds: map[*hold]struct{}{}}
			p.holdings[o] = have
		}
		have.bytes += n
		have.holds[h] = struct{}{}
	}
}

// uncharge takes all that a hold has from its owners.
func (p *pool) uncharge(h *hold) {
	if h.bytes == 0 {
		return
	}
	for _, o := range h.owners[:h.count] {
		have := p.holdings[o]
		have.bytes -= h.bytes
		delete(have.holds, h)
		if len(have.holds) == 0 {
			delete(p.holdings, o)
		}
	}
	h.bytes = 0
	if p.freed != nil {
		close(p.freed)
		p.freed = nil
	}
}

// dropSlowest ends the slowest transfer among those of an owner that are slow, and
// reports whether there was one.
func (p *pool) dropSlowest(among *holding, but *hold, now time.Time) bool {
	if among == nil || now.Before(among.calm) || p.plantedShares() {
		return false
	}
	var slowest *hold
	lowest := float64(slowRate)
	for h := range among.holds {
		age := now.Sub(h.began)
		if h == but || h.cut == nil || age < slowAfter {
			continue
		}
		if rate := float64(h.moved.Load()) / age.Seconds(); rate < lowest {
			slowest, lowest = h, rate
		}
	}
	if slowest == nil {
		among.calm = now.Add(calmTime)
		return false
	}
	slowest.lost.Store(true)
	slowest.cut()
	slowest.cut = nil
	p.uncharge(slowest)
	p.dropped.Add(1)
	return true
}

// begin says that a hold's transfer begins, and how it is ended.
func (p *pool) begin(h *hold, cut func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.began, h.cut = time.Now(), cut
	h.moved.Store(0)
}

// done says that a hold's transfer is over: it is not cut any more.
func (p *pool) done(h *hold) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.cut = nil
}

// give gives back all that a hold has.
func (p *pool) give(h *hold) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h.cut = nil
	p.uncharge(h)
}

// room returns a channel that is closed when memory is given back.
func (p *pool) room() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.freed == nil {
		p.freed = make(chan struct{})
	}
	return p.freed
}

// used is what all calls have of the pool, in bytes.
func (p *pool) used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.holdings[owner{kind: ownAll}]; all != nil {
		return all.bytes
	}
	return 0
}

// words say whose share has no room, to the caller.
var fullWords = [ownerKinds]string{
	ownAll:     "The node is short of memory.",
	ownConn:    "The connection has its share of the node's memory: take the answers that wait, finish the requests that were begun.",
	ownAddress: "Your address has its share of the node's memory.",
	ownAccount: "The account has its share of the node's memory: take the answers that wait, finish the requests that were begun.",
}
