package rpc

import "sync"

// strangers counts the open streams of connections on which nobody has shown a
// session, in all and by address. mu guards both.
type strangers struct {
	mu        sync.Mutex
	streams   int
	addresses map[[48]byte]int // no more entries than streams
}

// enter counts a stream, unless it is one too many.
func (s *strangers) enter(address [48]byte, limits *Limits) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams >= limits.OpenStreams || s.addresses[address] >= limits.AddressStreams {
		return false
	}
	s.note(address)
	return true
}

// enterAnyway counts a stream that is there already.
func (s *strangers) enterAnyway(address [48]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(address)
}

func (s *strangers) note(address [48]byte) {
	s.streams++
	if s.addresses == nil {
		s.addresses = map[[48]byte]int{}
	}
	s.addresses[address]++
}

// leave undoes enter: the stream is over, or its connection no stranger's.
func (s *strangers) leave(address [48]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams--
	if s.addresses[address]--; s.addresses[address] == 0 {
		delete(s.addresses, address)
	}
}

func (s *strangers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}
