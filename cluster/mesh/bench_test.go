package mesh

import (
	"testing"

	"quicproquo/crypto/tlsid"
)

// BenchmarkEcho compares a stream per call with calls in turn on a kept one:
// 256 bytes there and back over loopback.
func BenchmarkEcho(b *testing.B) {
	w := newNetwork(b, nil, "n1", "n2")
	w.nodes["n1"].echo(tlsid.ALPNPeer)
	n2 := w.nodes["n2"]
	message := string(make([]byte, 256))
	b.Run("stream per call", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := n2.OpenStream(b.Context(), "n1", tlsid.ALPNPeer)
			if err == nil {
				err = call(s, message)
			}
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
	b.Run("kept stream", func(b *testing.B) {
		s, err := n2.OpenStream(b.Context(), "n1", tlsid.ALPNPeer)
		if err != nil {
			b.Fatal(err)
		}
		defer s.Close()
		b.ReportAllocs()
		for b.Loop() {
			if err := call(s, message); err != nil {
				b.Fatal(err)
			}
		}
	})
}
