//go:build unix

package mls

import (
	"bytes"
	"fmt"
	"math/bits"
	"sync"
	"syscall"
	"testing"
	"time"

	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// benchSizes are the numbers of members.
var benchSizes = []int{2, 16, 64, 256, 1024}

// benchSuites are the suites of the tables.
var benchSuites = []suite.ID{suite.X25519AES128SHA256Ed25519, suite.Default}

// floor is what the cryptography alone costs on this machine, now.
type floor struct{ verify, sign, seal, open, derive time.Duration }

// mean runs f for a while and returns the mean duration, which is what a benchmark
// returns too: whatever interrupts one interrupts the other.
func mean(f func()) time.Duration {
	const least, leastRuns = 30 * time.Millisecond, 25
	start, n := time.Now(), 0
	for ; n < leastRuns || time.Since(start) < least; n++ {
		f()
	}
	return time.Since(start) / time.Duration(n)
}

// usualContent is the size in bytes of what a floor's signatures cover: leaves, commits
// and key packages have about as much. Texts have more.
const usualContent = 512

func measureFloor(b *testing.B, s *suite.Suite, signed int) floor {
	b.Helper()
	signer := must(s.GenerateSigner())(b)
	content := make([]byte, signed)
	sig := must(signer.SignWithLabel("x", content))(b)
	priv, pub, err := s.GenerateKeyPair()
	must(priv, err)(b)
	context := make([]byte, usualContent)
	c := must(s.EncryptWithLabel(pub, "x", context, make([]byte, 32)))(b)
	secret := suite.Random(s.HashSize())
	return floor{
		verify: mean(func() { _ = s.VerifyWithLabel(signer.Public(), "x", content, sig) }),
		sign:   mean(func() { _, _ = signer.SignWithLabel("x", content) }),
		seal:   mean(func() { _, _ = s.EncryptWithLabel(pub, "x", context, make([]byte, 32)) }),
		open:   mean(func() { _, _ = s.DecryptWithLabel(priv, "x", context, c) }),
		derive: mean(func() { _, _, _ = s.DeriveKeyPair(secret) }),
	}
}

// benchGroup is a group of n members each of whom has committed once, seen by the
// members at leaves 0 and 1.
type benchGroup struct {
	s      *suite.Suite
	first  *Group
	second *Group
}

// benchCache keeps groups between benchmarks, since building them takes longer.
var benchCache sync.Map

func newBenchGroup(b *testing.B, id suite.ID, n int) *benchGroup {
	b.Helper()
	type key struct {
		id suite.ID
		n  int
	}
	if g, ok := benchCache.Load(key{id, n}); ok {
		return g.(*benchGroup)
	}
	g := buildBenchGroup(b, id, n)
	benchCache.Store(key{id, n}, g)
	return g
}

// buildBenchGroup makes the tree by real paths, one per member, without sending them to
// n members each: the private keys of all nodes are at hand.
func buildBenchGroup(b *testing.B, id suite.ID, n int) *benchGroup {
	b.Helper()
	groupID := []byte("bench")
	ids := make([]*Identity, n)
	keys := map[tree.NodeIndex]*suite.PrivateKey{}
	var t *tree.Tree
	for i := range n {
		ids[i] = must(NewIdentity(id, fmt.Appendf(nil, "member %d", i)))(b)
		kp := must(ids[i].NewKeyPackage(worldTime, KeyPackageOptions{}))(b)
		if i == 0 {
			t = tree.New(ids[0].Signer.Suite(), kp.Public.Leaf)
			continue
		}
		e := t.Edit()
		must(e.Add(kp.Public.Leaf))(b)
		t = e.Freeze()
	}
	for i := range n {
		at := tree.LeafIndex(i)
		e := t.Edit()
		_, priv, err := e.Create(at, nil, func(key suite.PublicKey, parentHash []byte) (*tree.LeafNode, error) {
			leaf := ids[i].leaf(key, tree.SourceCommit)
			leaf.ParentHash = parentHash
			return leaf, leaf.Sign(ids[i].Signer, groupID, at)
		})
		must(priv, err)(b)
		for x, k := range priv.Keys {
			keys[x] = k
		}
		t = e.Freeze()
	}
	s := ids[0].Signer.Suite()
	secret := suite.Random(s.HashSize())
	member := func(i int) *Group {
		pub := &PublicGroup{s: s, tree: t, context: &schedule.GroupContext{
			Version: tree.MLS10, Suite: id, GroupID: groupID, Epoch: uint64(2 * n), TreeHash: t.Hash(),
		}}
		epoch, roots := schedule.FromEpochSecret(s, secret)
		pub.tag = epoch.ConfirmationTag(s, nil)
		pub.interim = schedule.InterimTranscript(s, nil, pub.tag)
		priv := tree.NewPrivate(tree.LeafIndex(i), keys[tree.LeafIndex(i).Node()])
		for _, x := range t.Size().DirectPath(tree.LeafIndex(i).Node()) {
			if k := keys[x]; k != nil {
				priv = priv.With(x, k)
			}
		}
		return (&Group{cfg: &Config{}, id: ids[i], priv: priv}).enter(pub, epoch, roots)
	}
	g := &benchGroup{s: s, first: member(0)}
	if n > 1 {
		g.second = member(1)
	}
	return g
}

// eachGroup runs a benchmark for every suite and size and prints the ratio to the floor
// that f returns; its signatures cover so many bytes.
func eachGroup(b *testing.B, sizes []int, delta, signed int, f func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration) {
	b.Helper()
	for _, id := range benchSuites {
		for _, n := range sizes {
			g := newBenchGroup(b, id, n+delta)
			b.Run(fmt.Sprintf("suite=%04x/N=%d", uint16(id), n), func(b *testing.B) {
				b.ReportAllocs()
				fl := measureFloor(b, g.s, signed)
				before := cpuTime(b)
				least := float64(f(b, g, n, fl))
				cpu := float64(cpuTime(b)-before) / float64(b.N)
				per := float64(b.Elapsed()) / float64(b.N)
				// The machine may have changed pace meanwhile: the floor is the mean of
				// before and after.
				after := measureFloor(b, g.s, signed)
				least *= (1 + float64(after.verify+after.seal)/float64(fl.verify+fl.seal)) / 2
				b.ReportMetric(cpu/least, "x-floor-cpu")
				b.ReportMetric(per/least, "x-floor")
				b.ReportMetric(per/1e6, "ms")
			})
		}
	}
}

// cpuTime is the processor time of this process, which other load on the machine does
// not change. Divided by two it is what two free cores would need for parallel work.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// path is the cost of a full path of a group of n: the step times log2 n.
func path(n int, step time.Duration) time.Duration {
	return time.Duration(float64(step) * float64(bits.Len(uint(n-1))))
}

// The cryptographic floors: Ed25519 verify and sign, HPKE seal, open and derive.
func BenchmarkFloor(b *testing.B) {
	for _, id := range benchSuites {
		b.Run(fmt.Sprintf("suite=%04x", uint16(id)), func(b *testing.B) {
			fl := measureFloor(b, must(suite.Lookup(id))(b), usualContent)
			for range b.N {
			}
			for name, d := range map[string]time.Duration{"V-µs": fl.verify, "S-µs": fl.sign, "H-µs": fl.seal, "O-µs": fl.open, "D-µs": fl.derive} {
				b.ReportMetric(float64(d.Nanoseconds())/1e3, name)
			}
		})
	}
}

func BenchmarkKeyPackage(b *testing.B) {
	for _, id := range benchSuites {
		b.Run(fmt.Sprintf("suite=%04x", uint16(id)), func(b *testing.B) {
			b.ReportAllocs()
			who := must(NewIdentity(id, []byte("x")))(b)
			for b.Loop() {
				must(who.NewKeyPackage(worldTime, KeyPackageOptions{}))(b)
			}
		})
	}
}

// Join enters a group of N: its floor is N signatures.
func BenchmarkJoin(b *testing.B) {
	eachGroup(b, benchSizes, -1, usualContent, func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration {
		b.Helper()
		id := must(NewIdentity(g.s.ID(), []byte("joiner")))(b)
		kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(b)
		p := must(g.first.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(b)
		kps := []*KeyPackage{kp}
		b.ReportMetric(float64(len(p.Welcome)), "welcome-bytes")
		for b.Loop() {
			must(Join(g.first.cfg, kps, p.Welcome, JoinOptions{}, worldTime))(b)
		}
		return time.Duration(n) * fl.verify
	})
}

// An update commit seals to log2 N nodes, derives as many keys and the leaf's, and signs.
func BenchmarkUpdateCommit(b *testing.B) {
	eachGroup(b, benchSizes, 0, usualContent, func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration {
		b.Helper()
		var p *Pending
		for b.Loop() {
			p = must(g.first.Commit(CommitOptions{}, worldTime))(b)
		}
		b.ReportMetric(float64(len(p.Commit)), "commit-bytes")
		return path(n, fl.seal+fl.derive) + fl.derive + fl.sign
	})
}

// Processing an update verifies two signatures, opens one secret and derives log2 N keys
// at the member next to the committer, who has the most to do.
func BenchmarkProcessUpdate(b *testing.B) {
	eachGroup(b, benchSizes, 0, usualContent, func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration {
		b.Helper()
		p := must(g.first.Commit(CommitOptions{}, worldTime))(b)
		for b.Loop() {
			if _, _, err := g.second.Process(p.Commit, worldTime); err != nil {
				b.Fatal(err)
			}
		}
		return 2*fl.verify + fl.open + path(n, fl.derive)
	})
}

// welcomeFloor is what a welcome costs whose group info holds the ratchet tree: all of it
// is signed, encrypted, and hashed as the context of each joiner's secrets (RFC 9420
// §12.4.3).
func welcomeFloor(b *testing.B, s *suite.Suite, size int) time.Duration {
	b.Helper()
	signer := must(s.GenerateSigner())(b)
	priv, pub, err := s.GenerateKeyPair()
	must(priv, err)(b)
	info, key, nonce := make([]byte, size), suite.Random(s.KeySize()), suite.Random(s.NonceSize())
	return mean(func() { _, _ = signer.SignWithLabel("x", info) }) +
		mean(func() { _, _ = s.Seal(key, nonce, nil, info) }) +
		mean(func() { _, _ = s.EncryptWithLabel(pub, "x", info, make([]byte, 64)) })
}

// Adding a member is an update commit, two signatures of a key package and one welcome.
func BenchmarkAddOne(b *testing.B) {
	eachGroup(b, benchSizes, -1, usualContent, func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration {
		b.Helper()
		id := must(NewIdentity(g.s.ID(), []byte("joiner")))(b)
		kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(b)
		var p *Pending
		for b.Loop() {
			p = must(g.first.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}}, worldTime))(b)
		}
		least := path(n, fl.seal+fl.derive) + fl.derive + 2*fl.verify + fl.sign
		b.StopTimer()
		b.ReportMetric(float64(len(p.Welcome)), "welcome-bytes")
		return least + welcomeFloor(b, g.s, len(p.Welcome))
	})
}

// Without the tree in the welcome, whose bytes grow with N, adding costs what the path
// does.
func BenchmarkAddOneNoTree(b *testing.B) {
	eachGroup(b, benchSizes, -1, usualContent, func(b *testing.B, g *benchGroup, n int, fl floor) time.Duration {
		b.Helper()
		id := must(NewIdentity(g.s.ID(), []byte("joiner")))(b)
		kp := must(id.NewKeyPackage(worldTime, KeyPackageOptions{}))(b)
		var p *Pending
		for b.Loop() {
			p = must(g.first.Commit(CommitOptions{Add: []*message.KeyPackage{kp.Public}, NoTree: true}, worldTime))(b)
		}
		least := path(n, fl.seal+fl.derive) + fl.derive + 2*fl.verify + fl.sign
		b.StopTimer()
		b.ReportMetric(float64(len(p.Welcome)), "welcome-bytes")
		return least + welcomeFloor(b, g.s, len(p.Welcome))
	})
}

// textSize is the size in bytes of an application message.
const textSize = 1024

func BenchmarkEncrypt(b *testing.B) {
	eachGroup(b, []int{2, 256, 1024}, 0, textSize, func(b *testing.B, g *benchGroup, _ int, fl floor) time.Duration {
		b.Helper()
		data := bytes.Repeat([]byte{1}, textSize)
		from := g.first
		for b.Loop() {
			var err error
			if from, _, err = from.Encrypt(data, nil); err != nil {
				b.Fatal(err)
			}
		}
		return fl.sign
	})
}

func BenchmarkDecrypt(b *testing.B) {
	eachGroup(b, []int{2, 256, 1024}, 0, textSize, func(b *testing.B, g *benchGroup, _ int, fl floor) time.Duration {
		b.Helper()
		from, msg, err := g.first.Encrypt(bytes.Repeat([]byte{1}, textSize), nil)
		must(from, err)(b)
		to, _, err := g.second.Process(msg, worldTime) // the first message sets the ratchet up
		must(to, err)(b)
		_, msg, err = from.Encrypt(bytes.Repeat([]byte{1}, textSize), nil)
		must(msg, err)(b)
		for b.Loop() {
			if _, _, err := to.Process(msg, worldTime); err != nil {
				b.Fatal(err)
			}
		}
		return fl.verify
	})
}

// The state that a message changes is small next to the whole.
func BenchmarkSave(b *testing.B) {
	eachGroup(b, []int{64, 1024}, 0, usualContent, func(b *testing.B, g *benchGroup, _ int, fl floor) time.Duration {
		b.Helper()
		from, _, err := g.first.Encrypt([]byte("x"), nil)
		must(from, err)(b)
		var epoch, moving []byte
		for b.Loop() {
			epoch, moving = from.appendEpoch(nil), from.appendMoving(nil)
		}
		b.ReportMetric(float64(len(epoch)), "epoch-bytes")
		b.ReportMetric(float64(len(moving)), "moving-bytes")
		return fl.sign
	})
}
