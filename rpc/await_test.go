package rpc

import (
	"testing"
	"time"
)

// eventually waits for what another goroutine is about to bring about.
func eventually(tb testing.TB, what string, holds func() bool) {
	tb.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(testPatience); !holds(); {
		if time.Now().After(deadline) {
			tb.Fatalf("waited for %v: %s", testPatience, what)
		}
		<-ticker.C
	}
}
