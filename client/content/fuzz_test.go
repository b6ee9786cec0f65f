package content_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"quicproquo/client/content"
)

// Whatever decodes encodes again, to a message that is the same; of unknown kinds
// to the same bytes.
func FuzzDecode(f *testing.F) {
	for _, body := range bodies() {
		f.Add(encode(f, message(body)))
	}
	f.Add(newer(f, 1, 11, true))
	f.Add(newer(f, 2, 0, false))
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := content.Decode(frame)
		if err != nil {
			return
		}
		again, err := content.Encode(m)
		if err != nil {
			t.Fatalf("%+v was decoded and is not encoded: %v", m, err)
		}
		if _, unknown := m.Body.(content.Unknown); unknown && !bytes.Equal(again, frame) {
			t.Errorf("an unknown kind changed: %x became %x", frame, again)
		}
		if len(again) > len(frame) {
			t.Errorf("the one encoding is longer than another: %x, %x", again, frame)
		}
		same, err := content.Decode(again)
		if diff := cmp.Diff(m, same); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
	})
}
