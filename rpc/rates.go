package rpc

import (
	"net"
	"sync/atomic"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/cluster/mesh"
	"quicproquo/schemas"
)

// Class is a kind of method for which callers have a rate of their own.
type Class uint8

// The classes. Every method has one.
const (
	// ClassNone is for methods that have none, which a test forbids, and for
	// what is no method's call: it is limited as ClassFree is.
	ClassNone     Class = iota
	ClassFree           // says nothing that costs
	ClassRegister       // makes accounts
	ClassLogin          // begins a login, which costs the node the work of OPAQUE
	ClassSession        // ends a login, binds a session
	ClassSend           // puts envelopes into queues
	ClassFanOut         // not of a method: a token for each recipient of a send or commit
	ClassReceive        // reads and acknowledges the caller's own queues
	ClassRead           // reads the caller's own things
	ClassLookup         // finds out about others
	ClassKeys           // uploads and claims key packages and hybrid keys
	ClassCommit         // publishes commits
	ClassManage         // changes the account, its devices, its channels
	ClassStall          // not of a method: a token for each large request while it arrives, for good if it stalls
	classCount
)

var classNames = [classCount]string{
	"none", "free", "register", "login", "session", "send", "fanOut", "receive", "read", "lookup", "keys", "commit", "manage", "stall",
}

func (c Class) String() string { return classNames[c] }

// Rate is a token bucket: Burst calls at once, then one in Every. The zero Rate
// is none.
type Rate struct {
	Burst int
	Every time.Duration
}

func (r Rate) unlimited() bool { return r.Burst <= 0 || r.Every <= 0 }

// ClassRate is what one caller may do in a class.
type ClassRate struct {
	Class Class
	// Device is the rate of each device of an account, or of an account that
	// acts without one.
	Device Rate
	// Address is the rate of all callers together behind one IPv4 address or
	// IPv6 /64.
	Address Rate
}

// Rates are the rates of a node. Nil is DefaultRates; a class without a row is
// not limited.
type Rates []ClassRate

// Off limits no rate: for benchmarks and for tests that make many calls.
var Off = Rates{}

// DefaultRates are the rates of a node that faces the Internet. Loopback is an
// address like any other. An address may hold a household or a carrier's whole
// city, so where the caller is known the rate of its device is what counts, and
// the address's only bounds what strangers cost.
func DefaultRates() Rates {
	const second = time.Second
	return Rates{
		{Class: ClassFree, Address: Rate{2000, second / 1000}},
		{Class: ClassRegister, Address: Rate{10, 5 * time.Second}}, // two calls an account
		{Class: ClassLogin, Address: Rate{5, second}},
		{Class: ClassSession, Address: Rate{200, second / 50}},
		{Class: ClassSend, Device: Rate{60, second / 2}, Address: Rate{2000, second / 200}},
		{Class: ClassFanOut, Device: Rate{4 * schemas.MaxRecipients, second / 512}},
		{Class: ClassReceive, Device: Rate{300, second / 50}, Address: Rate{5000, second / 1000}},
		{Class: ClassRead, Device: Rate{100, second / 10}, Address: Rate{2000, second / 200}},
		{Class: ClassLookup, Device: Rate{100, second}, Address: Rate{1000, second / 50}},
		{Class: ClassKeys, Device: Rate{60, second}, Address: Rate{1000, second / 50}},
		{Class: ClassCommit, Device: Rate{30, second}, Address: Rate{1000, second / 50}},
		{Class: ClassManage, Device: Rate{30, 2 * second}, Address: Rate{500, second / 20}},
		{Class: ClassStall, Device: Rate{64, second}, Address: Rate{64, second}},
	}
}

// batchRecipients and commitRecipients read no more than the lengths of lists.
// What can't be read the handler refuses.
func batchRecipients(params capnp.Struct) int {
	list, err := schemas.BatchEnqueueParams(params).Recipients()
	if err != nil {
		return 0
	}
	return list.Len()
}

func commitRecipients(params capnp.Struct) (n int) {
	list, err := schemas.PublishCommitParams(params).Deliveries()
	if err != nil || list.Len() > schemas.MaxDeliveries {
		return 0
	}
	for i := range list.Len() {
		if to, err := list.At(i).Recipients(); err == nil {
			n += to.Len()
		}
	}
	return n
}

// gate charges calls to the buckets of their callers.
type gate struct {
	rates              [classCount]ClassRate
	addresses, devices *limiter
	// refused counts what was refused, by class.
	refusedAddress, refusedDevice [classCount]atomic.Uint64
}

func newGate(rates Rates, now time.Time) *gate {
	g := &gate{addresses: newLimiter(now), devices: newLimiter(now)}
	for _, r := range rates {
		g.rates[r.Class] = r
	}
	g.rates[ClassNone] = g.rates[ClassFree]
	return g
}

// addressKey names the bucket of a client's address: one IPv4 address or IPv6
// /64. All that have no address share one.
func addressKey(address net.Addr) (who [48]byte) {
	prefix := mesh.PrefixOf(address)
	if !prefix.IsValid() {
		return who
	}
	bytes := prefix.Addr().As16()
	copy(who[:], bytes[:])
	who[len(bytes)] = byte(prefix.Addr().BitLen()) // 10.0.0.1 is not ::ffff:a00:1's /64
	return who
}

// tooFast refuses with the time to wait.
func tooFast(wait time.Duration) *refusal {
	// Rounded up: who waits for as long as it is told must get through.
	wait = (wait + time.Millisecond - 1).Truncate(time.Millisecond)
	return &refusal{code: schemas.Code_rateLimited, retryAfter: wait, value: uint64(wait.Milliseconds())}
}

// chargeNonsense charges to its address a request that is no call of any method.
func (c *call) chargeNonsense(why error) error {
	if c.method == nil {
		if err := c.limitAddress(); err != nil {
			return err
		}
	}
	return why
}

// limitAddress charges the call to the address that it comes from. It comes
// before anything that a stranger could make expensive.
func (c *call) limitAddress() error {
	g, class := c.conn.server.gate, c.class()
	if wait := g.addresses.take(bucketKey{class, c.conn.address}, g.rates[class].Address, 1, time.Now()); wait > 0 {
		g.refusedAddress[class].Add(1)
		return tooFast(wait)
	}
	return nil
}

// limitCaller charges the call to the device, or the account, that authenticate
// found. What it refuses is not charged to the address: a device that is too
// fast does not take the rate of its neighbours.
func (c *call) limitCaller() error {
	g, m, now := c.conn.server.gate, c.method, time.Now()
	key := bucketKey{class: m.class}
	copy(key.who[:], c.caller.account[:])
	copy(key.who[len(c.caller.account):], c.caller.device[:])
	wait := g.devices.take(key, g.rates[m.class].Device, 1, now)
	refused := m.class
	if wait == 0 && m.recipients != nil {
		params, err := c.params()
		if err != nil {
			return err
		}
		if n := min(m.recipients(params), schemas.MaxRecipients); n > 0 {
			fanOut := bucketKey{ClassFanOut, key.who}
			refused = ClassFanOut
			if wait = g.devices.take(fanOut, g.rates[ClassFanOut].Device, n, now); wait > 0 {
				g.devices.giveBack(key, g.rates[m.class].Device)
			}
		}
	}
	if wait > 0 {
		g.refusedDevice[refused].Add(1)
		g.addresses.giveBack(bucketKey{m.class, c.conn.address}, g.rates[m.class].Address)
		return tooFast(wait)
	}
	return nil
}

// class is the method's, ClassNone when there is none.
func (c *call) class() Class {
	if c.method == nil {
		return ClassNone
	}
	return c.method.class
}
