package mesh

import (
	"io"
	"syscall"
	"testing"
	"time"

	"quicproquo/crypto/tlsid"
)

// BenchmarkBulk sends 256 KiB, what a full raft entry has, and gets them back.
// cpu-ns/KiB counts both ends.
func BenchmarkBulk(b *testing.B) {
	w := newNetwork(b, nil, "n1", "n2")
	w.nodes["n1"].echo(tlsid.ALPNPeer)
	s, err := w.nodes["n2"].OpenStream(b.Context(), "n1", tlsid.ALPNPeer)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const size = 256 << 10
	message, back := make([]byte, size), make([]byte, size)
	b.SetBytes(size)
	before := processorTime()
	for b.Loop() {
		go func() { _, _ = s.Write(message) }()
		if _, err := io.ReadFull(s, back); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime()-before)/float64(b.N)/(2*size>>10), "cpu-ns/KiB")
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
