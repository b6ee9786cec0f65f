package tlsid

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"sync"
	"time"
)

// Session tickets (RFC 8446 §4.6.1) spare a client that comes back to a node, and the node,
// the certificates, a signature and its verification; keys are exchanged anew each time,
// and there is no 0-RTT. Only qpq/1 has them: nodes always show certificates.
//
// What a ticket is worth is bounded on both sides. A node opens its own tickets only, of
// the certificate that it has now, and for a day at most. A client verifies the
// certificate of the first handshake again whenever it resumes (VerifyConnection), so that
// none is believed after its end or after its authority is gone, and asks for a whole
// handshake every hour (client/internal/resume).

// TicketPeriod is how long one key seals tickets. They are opened for a period more.
const TicketPeriod = 12 * time.Hour

// clientServer makes the configurations for qpq/1, one for each certificate and period.
type clientServer struct {
	options ServerOptions

	mu     sync.Mutex // guards the rest
	of     *credentials
	period int64
	made   *tls.Config
}

// config returns the configuration of now, which must not be changed.
func (s *clientServer) config(c *credentials) *tls.Config {
	period := clock(s.options.Now).Unix() / int64(TicketPeriod/time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of != c || s.period != period {
		s.of, s.period = c, period
		s.made = publicConfig(c, ALPNClient, s.options.ClientCertificate, s.options.Now)
		s.made.SessionTicketsDisabled = false
		s.made.SetSessionTicketKeys([][32]byte{s.ticketKey(period), s.ticketKey(period - 1)})
	}
	return s.made
}

// ticketKey is the key of a period, for the certificates that are shown now.
func (s *clientServer) ticketKey(period int64) (key [32]byte) {
	hash := sha256.New()
	hash.Write(s.of.leaf.Raw)
	if s.options.ClientCertificate != nil {
		for _, der := range s.options.ClientCertificate.Certificate {
			hash.Write(der)
		}
	}
	info := binary.BigEndian.AppendUint64([]byte("qpq session ticket key"), uint64(period))
	derived, err := hkdf.Key(sha256.New, s.options.TicketSecret[:], hash.Sum(nil), string(info), len(key))
	if err != nil {
		panic("tlsid: HKDF refuses 32 bytes: " + err.Error())
	}
	copy(key[:], derived)
	clear(derived)
	return key
}
