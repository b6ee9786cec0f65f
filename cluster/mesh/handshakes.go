package mesh

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"io"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"
)

// Handshakes give way to calls. Their cryptography is what costs, half a millisecond of a
// processor each, so a few are worked on at a time, and others wait in line. While the
// node has more to do than processors (goroutines wait for one), the next in line waits
// for three times as long as the one before has taken: handshakes then have a quarter of
// what one processor does for each place, and connections that stand the rest. Who has
// waited for longer than clients do is refused: nobody would be there any more.
const (
	// handshakePause is how much longer than a handshake took its place stays taken while
	// the node is busy.
	handshakePause = 3
	// handshakeBusy goroutines for each processor wait for one on a busy node. Other
	// programs on the machine don't count: who waits for them would wait for ever.
	handshakeBusy = 8
	// maxHandshakeTurn bounds how long one handshake holds its place, pause and all.
	maxHandshakeTurn = 100 * time.Millisecond
	// maxHandshakeWait is how long a handshake waits for its place.
	maxHandshakeWait = 3 * time.Second
)

var errNoTurn = errors.New("too many handshakes: it was not this one's turn in time")

// handshakeLine is where handshakes of guests wait for their turn.
type handshakeLine struct {
	places chan struct{} // a token for each that is worked on
	busy   func() bool   // runnable goroutines are too many
}

func newHandshakeLine() *handshakeLine {
	return &handshakeLine{places: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), busy: isBusy}
}

// enter waits for a turn. done ends it, and may be called again; the end of ctx, which is
// the handshake's, does so too.
func (l *handshakeLine) enter(ctx context.Context) (done func(), err error) {
	select {
	case l.places <- struct{}{}:
	default:
		timer := time.NewTimer(maxHandshakeWait)
		defer timer.Stop()
		select {
		case l.places <- struct{}{}:
		case <-timer.C:
			return nil, errNoTurn
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	began, busy := time.Now(), l.busy()
	done = sync.OnceFunc(func() {
		if took := time.Since(began); busy {
			time.AfterFunc(min(handshakePause*took, maxHandshakeTurn), l.leave)
			return
		}
		l.leave()
	})
	context.AfterFunc(ctx, done)
	return done, nil
}

// isBusy reports whether so many goroutines are ready that calls wait for a processor.
func isBusy() bool {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	metrics.Read(ready)
	return ready[0].Value.Kind() == metrics.KindUint64 &&
		ready[0].Value.Uint64() > uint64(handshakeBusy*runtime.GOMAXPROCS(0))
}

func (l *handshakeLine) leave() { <-l.places }

// inLine waits for a turn and returns the configuration for one handshake, which ends the
// turn when the costly part is done: the signature, or the ticket that spares it. A client
// that stops in between holds it for maxHandshakeTurn.
func (l *handshakeLine) inLine(ctx context.Context, config *tls.Config) (*tls.Config, error) {
	done, err := l.enter(ctx)
	if err != nil {
		return nil, err
	}
	time.AfterFunc(maxHandshakeTurn, done)
	one := config.Clone()
	one.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		shown, err := config.GetCertificate(hello)
		if err != nil {
			return nil, err
		}
		signer, ok := shown.PrivateKey.(crypto.Signer)
		if !ok {
			return shown, nil
		}
		mine := *shown
		mine.PrivateKey = lastSigner{signer, done}
		return &mine, nil
	}
	one.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := config.DecryptTicket(ticket, state)
		if session != nil {
			done()
		}
		return session, err
	}
	return one, nil
}

// lastSigner calls done after it has signed.
type lastSigner struct {
	crypto.Signer
	done func()
}

// Sign signs as crypto.Signer says.
func (s lastSigner) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	defer s.done()
	return s.Signer.Sign(random, digest, options)
}
