package rpc

import (
	"sync/atomic"

	"quicproquo/schemas"
)

// Stats are what a server has counted since it began, and how it is now. The
// names of operators' metrics are made of these (cmd/qpqd, docs/operations.md).
type Stats struct {
	// Now.
	Conns         int   // connections
	Streams       int64 // open streams of all connections
	OpenStreams   int   // those among them without a session
	Running       int64 // calls
	Subscribes    int64 // subscribe calls among them
	RequestMemory int64 // held by large requests, in bytes
	AnswerMemory  int64 // held by large responses, in bytes
	Buckets       int   // token buckets that are not full

	// Since the server began.
	ConnsServed    uint64
	ConnsRefused   uint64
	StreamsRefused uint64
	BytesIn        uint64 // of requests
	BytesOut       uint64 // of responses
	BucketsEvicted uint64 // dropped before they were full, for want of room
	Dropped        uint64 // slow requests and responses whose memory others needed
	Calls          []CallCount
	Limited        []LimitedCount
}

// CallCount is how many calls of a method ended with a code.
type CallCount struct {
	Method string // "none" for what was no call of any method
	Code   schemas.Code
	Count  uint64
}

// LimitedCount is how many calls of a class were refused for their rate.
type LimitedCount struct {
	Class Class
	By    string // whose rate: "address" or "device"
	Count uint64
}

// MethodInfo is what a method is limited by.
type MethodInfo struct {
	Name     string
	MaxBytes int // of the framed request
	Class    Class
}

// Methods lists the methods by ordinal.
func (s *Server) Methods() (list []MethodInfo) {
	for ordinal := range uint16(noMethod) {
		if m := s.methodOf(ordinal); m != nil {
			list = append(list, MethodInfo{m.name, m.maxBytes, m.class})
		}
	}
	return list
}

// Limits returns the limits that this server keeps.
func (s *Server) Limits() Limits { return s.limits }

// noMethod stands for the ordinal of a request that is no call of any method.
const noMethod = len(table{})

// counters count calls without a lock.
type counters struct {
	conns, connsRefused, streamsRefused atomic.Uint64
	bytesIn, bytesOut                   atomic.Uint64
	running                             [noMethod]atomic.Int64
	calls                               [noMethod + 1][]atomic.Uint64 // by code
}

func newCounters() *counters {
	n := &counters{}
	for i := range n.calls {
		n.calls[i] = make([]atomic.Uint64, len(schemas.Codes()))
	}
	return n
}

// answered counts a call's end.
func (n *counters) answered(ordinal int, code schemas.Code) {
	if int(code) < len(n.calls[ordinal]) {
		n.calls[ordinal][code].Add(1)
	}
}

// subscribeMethod is the ordinal of subscribe, whose calls stay.
const subscribeMethod = 33

// Stats returns the counts. They are read one by one, while calls go on.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	conns := len(s.conns)
	s.mu.Unlock()
	return Stats{
		Conns: conns, Streams: s.streams.Load(), OpenStreams: s.strangers.count(), Running: s.running.Load(),
		Subscribes:    s.stats.running[subscribeMethod].Load(),
		RequestMemory: s.memory.used() + s.strange.used(), AnswerMemory: s.answers.used(),
		Dropped:     s.memory.dropped.Load() + s.strange.dropped.Load() + s.answers.dropped.Load(),
		Buckets:     s.gate.addresses.buckets() + s.gate.devices.buckets(),
		ConnsServed: s.stats.conns.Load(), ConnsRefused: s.stats.connsRefused.Load(), StreamsRefused: s.stats.streamsRefused.Load(),
		BytesIn: s.stats.bytesIn.Load(), BytesOut: s.stats.bytesOut.Load(),
		BucketsEvicted: s.gate.addresses.evicted.Load() + s.gate.devices.evicted.Load(),
		Calls:          s.callCounts(), Limited: s.gate.counts(),
	}
}

// callCounts leaves out what never happened.
func (s *Server) callCounts() (list []CallCount) {
	for ordinal := range s.stats.calls {
		name := "none"
		if ordinal != noMethod {
			if m := s.methodOf(uint16(ordinal)); m != nil {
				name = m.name
			}
		}
		for code := range s.stats.calls[ordinal] {
			if n := s.stats.calls[ordinal][code].Load(); n > 0 {
				list = append(list, CallCount{name, schemas.Code(code), n})
			}
		}
	}
	return list
}

func (s *Server) methodOf(ordinal uint16) *method {
	if m := s.open.find(ordinal); m != nil {
		return m
	}
	return s.authenticated.find(ordinal)
}

// counts are zero, too, for every class that is limited, so that a rate of
// refusals can be told from the first one on.
func (g *gate) counts() (list []LimitedCount) {
	for class := range classCount {
		if n := g.refusedAddress[class].Load(); n > 0 || !g.rates[class].Address.unlimited() {
			list = append(list, LimitedCount{class, "address", n})
		}
		if n := g.refusedDevice[class].Load(); n > 0 || !g.rates[class].Device.unlimited() {
			list = append(list, LimitedCount{class, "device", n})
		}
	}
	return list
}
