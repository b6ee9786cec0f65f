package fsm

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// sameSettings compares what a view says with the rows that it shows.
func sameSettings(tb testing.TB, s *Store) (cached bool, ttl uint64) {
	tb.Helper()
	v, err := s.View()
	must(tb, err)
	defer func() { must(tb, v.Close()) }()
	for id := range settingCount {
		want, err := readSetting(v.snapshot, id)
		must(tb, err)
		if got := v.setting(id); got != want {
			tb.Fatalf("at index %d %s is %d, the row says %d", v.Index(), settingTable[id].Name, got, want)
		}
	}
	must(tb, v.err)
	return v.moment.settings != nil, v.setting(ttlDefaultSecs)
}

// Settings are answered from memory, and never with others than the rows of the state that
// is read: while they change under the readers, and over a restart.
func TestSettingsFromMemoryAreTheRows(t *testing.T) {
	opts := testOptions(vfs.NewMem())
	s := openTest(t, opts)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					sameSettings(t, s)
				}
			}
		})
	}
	const changes = 300
	for i := uint64(1); i <= changes; i++ {
		c := parseCall(t, fmt.Sprintf("changeSettings as=node ttl_default_secs=%d", 60+i), int(i))
		results, err := s.Apply([]Log{seal(t, i, 1_000_000+i, c.frame(t))})
		must(t, err)
		if got := c.show(t, results[0][0]); got[0] == 'E' {
			t.Fatal(got)
		}
		if cached, ttl := sameSettings(t, s); !cached || ttl != 60+i {
			t.Fatalf("after change %d: from memory %t, %d, want %d from memory", i, cached, ttl, 60+i)
		}
	}
	close(stop)
	readers.Wait()
	if s.settingsAt(s.live.db, changes-1) != nil {
		t.Error("a state before the last change is given settings that were not yet in force")
	}
	must(t, s.Close())
	s = openTest(t, opts)
	defer closeTest(t, s)
	if cached, ttl := sameSettings(t, s); !cached || ttl != 60+changes {
		t.Errorf("after a restart: from memory %t, %d, want %d from memory", cached, ttl, 60+changes)
	}
}
