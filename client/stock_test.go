package client_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"quicproquo/client"
	"quicproquo/testcluster"
)

// The cluster gets new key packages beside those that have less than half their life
// ahead, once, and a new last-resort one. Of more than it has room for it gets as many as
// fit; this device keeps no private keys of those that it did not take.
func TestStockAtTheCluster(t *testing.T) {
	leaveToFullRun(t)
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	var off atomic.Int64 // of the clock
	p := &person{t: t, name: "ann", cluster: c}
	p.profile = client.Profile{
		Dir: filepath.Join(t.TempDir(), "ann"), Now: func() time.Time { return time.Now().Add(time.Duration(off.Load())) },
		Settings: client.Settings{KeyPackages: 4, LastResortAge: time.Hour},
	}
	has := func(remaining, fresh, local int, lastResort time.Time) func() error {
		return func() error {
			k, err := p.KeysStatus(t.Context())
			if err == nil && (k.Remaining != remaining || k.Fresh != fresh || k.Local != local || k.LastResort.Sub(lastResort).Abs() > 10*time.Minute) {
				err = fmt.Errorf("%d packages wait, %d of them fresh, %d are here, the last resort is of %v; want %d, %d, %d, %v",
					k.Remaining, k.Fresh, k.Local, k.LastResort, remaining, fresh, local, lastResort)
			}
			return err
		}
	}
	const early = -41 * 24 * time.Hour
	off.Store(int64(early))
	p.open(client.Create)
	if err := p.Register(within(t, time.Minute), "ann", []byte("password")); err != nil {
		t.Fatal(err)
	}
	if err := has(4, 4, 5, time.Now().Add(early))(); err != nil {
		t.Error(err)
	}
	off.Store(0)
	if err := has(4, 0, 5, time.Now().Add(early))(); err != nil {
		t.Error(err)
	}
	for i, later := range []time.Duration{0, 2 * time.Hour} { // the second time a last-resort one only
		off.Store(int64(later))
		p.stopped()
		p.await("new key packages", has(8, 4, 10+i, time.Now().Add(later)))
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	many := meet(t, c, "many", client.Settings{KeyPackages: 130})
	k, err := many.KeysStatus(t.Context())
	if err != nil || k.Remaining != 100 || k.Local != 101 {
		t.Errorf("%d packages wait where there is room for 100, %d are here (%v), want 100 and 101", k.Remaining, k.Local, err)
	}
}
