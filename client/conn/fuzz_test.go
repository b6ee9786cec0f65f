package conn

import (
	"bytes"
	"context"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/schemas"
)

// Whatever a node answers, the client gets results, the node's refusal or an
// error of its own, and reads results of any shape without harm.
func FuzzResponse(f *testing.F) {
	f.Add(scripted.ResponseFrame(scripted.Reply{Index: 7}, nil))
	f.Add(scripted.ResponseFrame(scripted.Reply{Code: schemas.Code_rateLimited, After: time.Second}, nil))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMessage()
		defer m.release()
		if len(data) < frameHead {
			return
		}
		rest := bytes.NewReader(data[copy(m.head[:], data):])
		frame, err := schemas.ReadFrame(m.whole(rest), schemas.MaxResponse, m.received)
		if err != nil {
			return
		}
		if m.received = frame; m.open() != nil {
			return
		}
		if err := m.failure(); err != nil {
			h := history{request: &Request{Write: true}, pause: retryPause}
			h.judge(outcome{err: err, sent: true}, time.Second)
			if h.verdict(context.Background()).Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if ptr, err := m.response.Results(); err == nil {
			_, _ = schemas.HealthResults(ptr.Struct()).Status()
		}
	})
}
