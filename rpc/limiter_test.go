package rpc

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A bucket gives its burst at once, then one token in every interval, never more
// than the burst after however long a rest, and says exactly how long to wait.
func TestBucket(t *testing.T) {
	start := time.Now()
	l := newLimiter(start)
	key, rate := bucketKey{class: ClassSend}, Rate{Burst: 3, Every: time.Second}
	for i, step := range []struct {
		at   time.Duration
		n    int
		wait time.Duration
	}{
		{0, 1, 0},
		{0, 2, 0},
		{0, 1, time.Second},
		{0, 3, 3 * time.Second}, // a refusal takes nothing
		{400 * time.Millisecond, 1, 600 * time.Millisecond},
		{time.Second, 1, 0},
		{time.Second, 1, time.Second},
		{time.Hour, 3, 0}, // full again, and no fuller
		{time.Hour, 1, time.Second},
		{2 * time.Hour, 99, 0}, // all that there is
		{2 * time.Hour, 1, time.Second},
	} {
		if got := l.take(key, rate, step.n, start.Add(step.at)); got != step.wait {
			t.Errorf("step %d: %d tokens at %v: wait %v, want %v", i, step.n, step.at, got, step.wait)
		}
	}
	l.giveBack(key, rate)
	if got := l.take(key, rate, 1, start.Add(2*time.Hour)); got != 0 {
		t.Errorf("a token that was given back is not there: wait %v", got)
	}
	if got := l.take(bucketKey{class: ClassRead}, rate, 3, start.Add(2*time.Hour)); got != 0 {
		t.Errorf("another class waits %v", got)
	}
	if got := l.take(key, Rate{}, 1e6, start.Add(2*time.Hour)); got != 0 {
		t.Errorf("no rate at all waits %v", got)
	}
}

// Whatever is asked whenever, a bucket does what a plain count of tokens does.
func TestBucketCountsTokens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Now()
		l := newLimiter(start)
		rate := Rate{Burst: rapid.IntRange(1, 20).Draw(t, "burst"), Every: time.Duration(rapid.IntRange(1, 1e9).Draw(t, "every"))}
		depth := int64(rate.Burst) * int64(rate.Every)
		have, now := depth, start // tokens, in nanoseconds of refill
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			pause := rapid.Int64Range(0, 3*int64(rate.Every)).Draw(t, "pause")
			n := rapid.IntRange(1, rate.Burst).Draw(t, "n")
			now, have = now.Add(time.Duration(pause)), min(depth, have+pause)
			want := max(0, int64(n)*int64(rate.Every)-have)
			if want == 0 {
				have -= int64(n) * int64(rate.Every)
			}
			if got := l.take(bucketKey{}, rate, n, now); int64(got) != want {
				t.Fatalf("wait %v, want %v", got, time.Duration(want))
			}
		}
	})
}

// However many callers come, the table stays bounded: full buckets leave, and
// when there are none, those that are nearest to full. A caller who is far over
// the rate stays refused through it.
func TestLimiterIsBounded(t *testing.T) {
	start := time.Now()
	l := newLimiter(start)
	rate := Rate{Burst: 2, Every: time.Hour}
	hammer := bucketKey{class: ClassLogin}
	for range 2 {
		l.take(hammer, rate, 1, start)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	refused := 0
	for i := range 3 * limiterBuckets {
		key := bucketKey{class: ClassLogin}
		copy(key.who[:], fmt.Sprintf("%08x", i+1))
		l.take(key, rate, 1, start)
		if i%1000 == 0 && l.take(hammer, rate, 1, start) > 0 {
			refused++
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	n := l.buckets()
	t.Logf("%d callers: %d buckets, %d evicted, %d KiB, %d bytes a bucket", 3*limiterBuckets, n, l.evicted.Load(),
		int64(after.HeapAlloc-before.HeapAlloc)>>10, int64(after.HeapAlloc-before.HeapAlloc)/int64(n))
	if n > limiterBuckets || l.evicted.Load() == 0 {
		t.Errorf("%d buckets are held, %d were evicted; want at most %d", n, l.evicted.Load(), limiterBuckets)
	}
	if refused < 700 { // of 787
		t.Errorf("who is over the rate was refused %d times only: the flood washed the bucket away", refused)
	}
	// An hour later all buckets are full: they leave as others come.
	later := start.Add(3 * time.Hour)
	for i := range limiterBuckets {
		key := bucketKey{class: ClassRead}
		copy(key.who[:], fmt.Sprintf("%08x", i))
		l.take(key, Rate{Burst: 2, Every: time.Nanosecond}, 1, later.Add(time.Duration(i)*time.Microsecond))
	}
	if n := l.buckets(); n > limiterBuckets/8 {
		t.Errorf("%d buckets that are full are still held", n)
	}
	runtime.KeepAlive(l)
}

// An IPv4 address is a caller, however it is written; of IPv6 the /64 is. An
// IPv4 address is never an IPv6 prefix.
func TestAddressKeys(t *testing.T) {
	key := func(address string) [48]byte {
		return addressKey(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	}
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:1", "192.0.2.1:2", true},
		{"192.0.2.1:1", "[::ffff:192.0.2.1]:1", true},
		{"192.0.2.1:1", "192.0.2.2:1", false},
		{"[2001:db8::1]:1", "[2001:db8::ffff:2]:9", true},
		{"[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false},
		{"[::1]:1", "127.0.0.1:1", false},
		{"0.0.0.0:1", "[::]:1", false},
	} {
		if same := key(c.a) == key(c.b); same != c.same {
			t.Errorf("%s and %s: same caller %v, want %v", c.a, c.b, same, c.same)
		}
	}
}

// Every method is charged to a class that has a rate for those who may call it,
// and every rate is one that somebody can live with.
func TestEveryMethodHasARate(t *testing.T) {
	g := newGate(DefaultRates(), time.Now())
	seen := map[Class]bool{ClassNone: true, ClassFanOut: true, ClassStall: true}
	server := NewServer(newFakeNode(1), Options{})
	for _, s := range methodShapes(t) {
		m, known := server.methodOf(s.ordinal), authenticated.find(s.ordinal) != nil
		class := m.class
		seen[class] = true
		r := g.rates[class]
		if class == ClassNone || class == ClassFanOut || class == ClassStall || r.Address.unlimited() || known && r.Device.unlimited() {
			t.Errorf("%s is charged to class %v: %+v", m.name, class, r)
		}
	}
	for class := range classCount {
		if r := g.rates[class]; !seen[class] || r.Device.Burst > 0 && r.Address.Burst > 0 && r.Address.Burst < r.Device.Burst {
			t.Errorf("class %v: used %v, %+v", class, seen[class], r)
		}
	}
	off := newGate(Off, time.Now())
	for class := range classCount {
		if r := off.rates[class]; !r.Device.unlimited() || !r.Address.unlimited() {
			t.Errorf("class %v is limited though rates are off: %+v", class, r)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := newLimiter(time.Now())
	rate := Rate{Burst: 1 << 30, Every: time.Nanosecond}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.take(bucketKey{class: ClassSend}, rate, 1, time.Now())
		}
	})
}
