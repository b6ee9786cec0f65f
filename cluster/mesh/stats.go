package mesh

// Stats are how an endpoint is now, and what it has counted since it opened.
type Stats struct {
	// Guests are connections from addresses that are no known node's, handshakes
	// included; Clients those among them that asked for qpq/1.
	Guests, Clients int
	Handshakes      int   // of guests, under way
	Addresses       int   // IPv4 addresses and IPv6 /64s that guests come from
	WindowTaken     int64 // of WindowBudget, in bytes

	Retried uint64 // handshakes that had to prove their address
	Refused uint64 // connections for which there was no room
}

// Stats returns the counts of this endpoint.
func (e *Endpoint) Stats() Stats {
	a := e.admission
	a.mu.Lock()
	defer a.mu.Unlock()
	return Stats{
		Guests: a.guests, Clients: a.clients, Handshakes: a.pending, Addresses: len(a.prefixes),
		WindowTaken: a.limits.WindowBudget - a.budget.left.Load(),
		Retried:     a.retried.Load(), Refused: a.refused.Load(),
	}
}

// Limits returns the limits of this endpoint.
func (e *Endpoint) Limits() Limits { return e.options.Limits }
