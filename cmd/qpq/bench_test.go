package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/testcluster"
)

// BenchmarkSend measures the command from its start to the acknowledgement of its
// message, and beside it one that only opens the vault, with the same Argon2id.
func BenchmarkSend(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct()})
	alice := seat(b, c, "alice", 0)
	seat(b, c, "bob", 1)
	alice.qpq("dm", "bob", "first")
	var sends, opens []time.Duration
	for b.Loop() {
		began := time.Now()
		alice.qpq("whoami")
		opened := time.Now()
		alice.qpq("send", "bob", "how long does this take?")
		opens, sends = append(opens, opened.Sub(began)), append(sends, time.Since(opened))
	}
	slices.Sort(sends)
	slices.Sort(opens)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(sends[len(sends)/2].Milliseconds()), "p50-ms")
	b.ReportMetric(float64(opens[len(opens)/2].Milliseconds()), "whoami-p50-ms")
}

// BenchmarkRecv measures the command that takes in what waits, and its memory.
// -benchtime 10000x gives the number of messages.
func BenchmarkRecv(b *testing.B) {
	c := testcluster.StartT(b, testcluster.Options{Network: testcluster.Direct()})
	alice, bob := seat(b, c, "alice", 0), seat(b, c, "bob", 1)
	alice.qpq("dm", "bob", "first")
	bob.qpq("recv")
	alice.floods("bob", b.N)
	b.ResetTimer()
	cmd := bob.program("recv", "--json")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	peak := watchMemory(cmd.Process.Pid)
	err := cmd.Wait()
	b.StopTimer()
	if err != nil {
		b.Fatalf("qpq recv: %v", err)
	}
	if n := bytes.Count(out.Bytes(), []byte(`"event":"message"`)); n != b.N {
		b.Fatalf("%d messages arrived, expected %d", n, b.N)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric(float64(peak())/1024, "MiB-at-most")
}

// watchMemory follows a process's greatest resident memory, in KiB. What wait4 says
// of a child is at least its parent's.
func watchMemory(pid int) (peak func() int) {
	done := make(chan int)
	go func() {
		most := 0
		for {
			raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, after, found := strings.Cut(string(raw), "VmHWM:")
			if err != nil || !found {
				done <- most
				return
			}
			_, _ = fmt.Sscan(after, &most)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() int { return <-done }
}

// floods sends many messages through one client.
func (d *desk) floods(to string, count int) {
	d.t.Helper()
	who, err := client.Open(client.Profile{
		Dir: filepath.Join(d.dir, "qpq", "default"), Key: vault.Passphrase([]byte("open sesame")), Options: d.options,
	})
	if err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = who.Close() }()
	v, err := who.Find(to)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := range count {
		if _, err := v.Send(d.t.Context(), content.Text{Text: fmt.Sprintf("message %d, of an ordinary length for what people write to each other", i)}); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := who.Start(); err != nil {
		d.t.Fatal(err)
	}
	if err := who.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
}
