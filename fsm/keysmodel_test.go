package fsm

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"quicproquo/schemas"
)

// keysModel is what pools must do, in the words of the protocol: lists, and no
// tables. Rows that the timers have not removed yet make no difference to it.
type keysModel struct {
	now     uint64
	pools   map[string][]modelPackage // by account[:device], oldest first
	last    map[string]modelPackage
	used    map[string]uint64 // when a package that was uploaded is forgotten
	devices []string          // of ann, in their order
	answers map[int]modelAnswer
	handed  map[string]int // packages to the request that took them
	uploads int            // names the next package
}

// modelAnswer is what a claim was answered.
type modelAnswer struct {
	line, want string
	at         uint64
}

type modelPackage struct {
	name    string
	expires uint64
	age     int
}

// good drops what has ended.
func (m *keysModel) good(pool string) []modelPackage {
	m.pools[pool] = slices.DeleteFunc(m.pools[pool], func(p modelPackage) bool { return p.expires <= m.now })
	return m.pools[pool]
}

// claim is the answer to a claim of one device's package.
func (m *keysModel) claim(id int, pool string) string {
	if have := m.good(pool); len(have) > 0 {
		m.pools[pool] = have[1:]
		if other, twice := m.handed[have[0].name]; twice {
			panic(fmt.Sprintf("the model gives %s to %d and %d", have[0].name, other, id))
		}
		m.handed[have[0].name] = id
		return have[0].name
	}
	if last, ok := m.last[pool]; ok && last.expires > m.now {
		return last.name + "(last)"
	}
	return schemas.Code_keyPackageNone.ID()
}

// claimAll is the answer to a claim as a script shows it.
func (m *keysModel) claimAll(id int, oldestOnly bool) string {
	pools := m.devices
	if len(pools) == 0 {
		pools = []string{"ann"}
	}
	if oldestOnly {
		best := ""
		for _, pool := range pools {
			if have := m.good(pool); len(have) > 0 && (best == "" || have[0].age < m.pools[best][0].age) {
				best = pool
			}
		}
		for _, pool := range pools {
			if last, ok := m.last[pool]; best == "" && ok && last.expires > m.now {
				best = pool
			}
		}
		if best == "" {
			return "E059 KEY_PACKAGE_NONE"
		}
		pools = []string{best}
	}
	text := "ok"
	for _, pool := range pools {
		_, device, _ := strings.Cut(pool, ":")
		text += fmt.Sprintf(" %s=%s", device, m.claim(id, pool))
	}
	return text
}

// upload is the line of an upload, and its answer.
func (m *keysModel) upload(t *rapid.T, pool string) (line, want string) {
	line = "uploadKeyPackages as=" + pool + " signer=ann"
	expires := m.now + rapid.SampledFrom([]uint64{1, 90_000, 400_000, 4_000_000}).Draw(t, "lives")
	var names []string
	for range rapid.IntRange(0, 3).Draw(t, "packages") {
		m.uploads++
		names = append(names, fmt.Sprintf("p%d.", m.uploads))
	}
	again := ""
	if m.uploads > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
		again = fmt.Sprintf("p%d.", rapid.IntRange(1, m.uploads).Draw(t, "which"))
	}
	// Whose lifetime has ended the node refuses, so nobody asks the store.
	if _, used := m.used[again]; used && !slices.Contains(names, again) {
		names = append(names, rapid.SampledFrom([]string{"", "mls:"}).Draw(t, "wrapped")+again)
	}
	last := ""
	if rapid.IntRange(0, 4).Draw(t, "last") == 0 {
		m.uploads++
		last = fmt.Sprintf("p%d.", m.uploads)
	}
	line += fmt.Sprintf(" packages=%s last=%s expires=%d", strings.Join(names, ","), last, expires)
	if len(names) == 0 && last == "" {
		return line, "E008 PAYLOAD_EMPTY"
	}
	for i, name := range names {
		if _, used := m.used[strings.TrimPrefix(name, "mls:")]; used {
			want = "E061 KEY_PACKAGE_USED"
			if i > 0 {
				want += fmt.Sprintf(" %d", i)
			}
			return line, want
		}
	}
	for _, name := range names {
		m.used[strings.TrimPrefix(name, "mls:")] = expires
		m.pools[pool] = append(m.pools[pool], modelPackage{name, expires, m.uploads})
	}
	if last != "" {
		m.used[last], m.last[pool] = expires, modelPackage{last, expires, m.uploads}
	}
	return line, ""
}

// keysRun is a store beside the model.
type keysRun struct {
	keysModel
	opts  Options
	store *Store
	log   []Log
	ids   int
	seen  map[string]int // kinds of answers, over all runs
}

func (r *keysRun) next() int {
	r.ids++
	return r.ids
}

func (r *keysRun) apply(t *rapid.T, id int, line string) string {
	tb := helper(t)
	c := parseCall(tb, line, id)
	log := seal(tb, uint64(len(r.log)+1), r.now, c.frame(tb))
	r.log = append(r.log, log)
	results, err := r.store.Apply([]Log{log})
	must(tb, err)
	return c.show(tb, results[0][0])
}

// restart opens the store again, after a power cut or without; what was lost
// comes again from the log.
func (r *keysRun) restart(t *rapid.T, cut bool) {
	tb := helper(t)
	fs := r.opts.FS
	if cut {
		fs = fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{
			UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)),
		})
	}
	closeTest(tb, r.store)
	r.opts.FS = fs
	r.store = openTest(tb, r.opts)
	if from := r.store.Index(); from < uint64(len(r.log)) {
		_, err := r.store.Apply(r.log[from:])
		must(tb, err)
	}
}

// A package goes to one request, the oldest first, whatever the order of uploads,
// claims, their repetitions, devices that come and go, time, expiry, restarts and
// power cuts; a last-resort one only when there is no other, and none that has
// ended. What was uploaded once is never taken again.
func TestPackagesAreHandedOutOnce(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		r := &keysRun{opts: testOptions(vfs.NewCrashableMem()), seen: seen, keysModel: keysModel{
			now: 1_000_000, pools: map[string][]modelPackage{}, last: map[string]modelPackage{},
			used: map[string]uint64{}, answers: map[int]modelAnswer{}, handed: map[string]int{},
		}}
		r.store = openTest(helper(t), r.opts)
		defer func() { closeTest(helper(t), r.store) }()
		for _, line := range []string{"createAccount name=ann key=ann", "createAccount name=bob key=bob", "changeSettings key_claim_secs=0"} {
			r.apply(t, r.next(), line)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			r.step(t)
		}
	})
	if testing.Short() {
		return // a fifth of the runs may miss an answer by chance
	}
	for _, what := range []string{"package", "(last)", "E059", "again"} {
		if seen[what] == 0 {
			t.Errorf("no claim gave %s: the test shows nothing of it (%v)", what, seen)
		}
	}
}

func (r *keysRun) step(t *rapid.T) {
	switch step := rapid.SampledFrom([]string{
		"upload", "upload", "claim", "claim", "claim", "again", "time", "expire", "device", "restart", "power cut",
	}).Draw(t, "step"); step {
	case "upload":
		line, want := r.upload(t, rapid.SampledFrom(append([]string{"ann"}, r.devices...)).Draw(t, "pool"))
		if got := r.apply(t, r.next(), line); want != "" && got != want || want == "" && !strings.HasPrefix(got, "ok") {
			t.Fatalf("%s: %s, want %q", line, got, want)
		}
	case "claim":
		id, oldest := r.next(), rapid.IntRange(0, 1).Draw(t, "oldest")
		line := fmt.Sprintf("claimKeyPackages as=%s of=ann oldest=%d", rapid.SampledFrom([]string{"bob", "ann"}).Draw(t, "by"), oldest)
		r.answers[id] = modelAnswer{line, r.claimAll(id, oldest == 1), r.now}
		r.claim(t, id)
	case "again":
		// The store may have forgotten older ones.
		maps.DeleteFunc(r.answers, func(_ int, a modelAnswer) bool { return a.at+30*60_000 <= r.now })
		if len(r.answers) > 0 {
			r.seen["again"]++
			r.claim(t, rapid.SampledFrom(slices.Sorted(maps.Keys(r.answers))).Draw(t, "id"))
		}
	case "time":
		r.now += rapid.SampledFrom([]uint64{1, 60_000, 300_000, 2_000_000}).Draw(t, "by")
	case "expire":
		r.apply(t, r.next(), "expire")
		r.forget()
	case "device":
		r.device(t)
	default:
		r.restart(t, step == "power cut")
	}
}

// claim makes a claim for the first time or again.
func (r *keysRun) claim(t *rapid.T, id int) {
	a := r.answers[id]
	got := r.apply(t, id, a.line)
	if got != a.want {
		t.Fatalf("request %d, %s: %s, want %s", id, a.line, got, a.want)
	}
	for _, what := range []string{"(last)", "E059"} {
		if strings.Contains(got, what) {
			r.seen[what]++
			return
		}
	}
	r.seen["package"]++
}

// forget is what the timers do: a package that has ended is no longer known.
func (r *keysRun) forget() {
	for name, expires := range r.used {
		if bucketOf(expires) <= r.now/bucketMs {
			delete(r.used, name)
		}
	}
}

// device registers the phone or revokes it.
func (r *keysRun) device(t *rapid.T) {
	const phone = "ann:phone"
	if len(r.devices) > 0 {
		r.apply(t, r.next(), "revokeDevice as=ann device=phone")
		delete(r.pools, phone)
		delete(r.last, phone)
		r.devices = nil
		return
	}
	if got := r.apply(t, r.next(), "registerDevice as=ann device=phone"); !strings.HasPrefix(got, "ok") {
		t.Fatal(got)
	}
	r.devices = []string{phone}
}
