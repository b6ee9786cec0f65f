package mls

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// seeds returns the values of string fields in an official vector file.
func seeds(tb testing.TB, file string, limit int) map[string][][]byte {
	tb.Helper()
	f := must(os.Open("testdata/" + file + ".json.gz"))(tb)
	defer f.Close()
	zr := must(gzip.NewReader(f))(tb)
	var all []map[string]any
	if err := json.NewDecoder(zr).Decode(&all); err != nil {
		tb.Fatal(err)
	}
	out := map[string][][]byte{}
	for _, c := range all[:min(limit, len(all))] {
		for field, v := range c {
			if text, ok := v.(string); ok {
				out[field] = append(out[field], must(hex.DecodeString(text))(tb))
			}
		}
	}
	return out
}

// messageSeeds are the messages of the first cases of the official vectors.
func messageSeeds(f *testing.F, fields ...string) {
	f.Helper()
	all := seeds(f, "messages", 8)
	for _, field := range fields {
		for _, b := range all[field] {
			f.Add(b)
		}
	}
}

// decoder checks that what a decoder accepts encodes to the same bytes.
func decoder[T codec.Appender](f *testing.F, read func(*codec.Reader) T) {
	f.Helper()
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := codec.Unmarshal(b, read)
		if err == nil && !bytes.Equal(codec.Marshal(v), b) {
			t.Errorf("%x encodes to %x", b, codec.Marshal(v))
		}
	})
}

func FuzzMessage(f *testing.F) {
	messageSeeds(f, "mls_welcome", "mls_group_info", "mls_key_package", "public_message_application",
		"public_message_proposal", "public_message_commit", "private_message")
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := message.Parse(b)
		if err == nil && !bytes.Equal(codec.Marshal(m), b) {
			t.Errorf("%x encodes to %x", b, codec.Marshal(m))
		}
	})
}

func FuzzCommit(f *testing.F) {
	messageSeeds(f, "commit")
	decoder(f, message.ReadCommit)
}

func FuzzProposal(f *testing.F) {
	for field, kind := range map[string]byte{
		"add_proposal": 1, "update_proposal": 2, "remove_proposal": 3, "pre_shared_key_proposal": 4,
		"re_init_proposal": 5, "external_init_proposal": 6, "group_context_extensions_proposal": 7,
	} {
		for _, b := range seeds(f, "messages", 8)[field] {
			f.Add(append([]byte{0, kind}, b...))
		}
	}
	decoder(f, message.ReadProposal)
}

func FuzzGroupSecrets(f *testing.F) {
	messageSeeds(f, "group_secrets")
	decoder(f, message.ReadGroupSecrets)
}

func FuzzKeyPackage(f *testing.F) {
	for _, b := range seeds(f, "messages", 8)["mls_key_package"] {
		f.Add(b[4:])
	}
	decoder(f, message.ReadKeyPackage)
}

func FuzzGroupContext(f *testing.F) {
	for _, b := range seeds(f, "messages", 8)["mls_group_info"] {
		f.Add(b[4:])
	}
	decoder(f, schedule.ReadGroupContext)
}

func FuzzAuthenticatedContent(f *testing.F) {
	for _, b := range seeds(f, "transcript-hashes", 7)["authenticated_content"] {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := codec.Unmarshal(b, message.ReadSigned)
		if err == nil && !bytes.Equal(codec.Marshal(m.Trust()), b) {
			t.Errorf("%x encodes differently", b)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	f.Add(codec.Marshal(tree.Extensions{lastResortExtension(), {Type: 5, Data: []byte{0}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ext, err := codec.Unmarshal(b, tree.ReadExtensions)
		if err != nil {
			return
		}
		LastResort(&message.KeyPackage{Extensions: ext})
		for _, e := range ext {
			_, _ = codec.Unmarshal(e.Data, tree.ReadExternalSenders)
			_, _ = codec.Unmarshal(e.Data, tree.ReadRequiredCapabilities)
		}
	})
}

// A tree that decodes is validated and resolved without harm: it encodes to the same
// bytes, a filtered direct path leads upwards to the root past nodes that have members
// beside them, and a resolution covers exactly the members below.
func FuzzTree(f *testing.F) {
	messageSeeds(f, "ratchet_tree")
	for _, b := range seeds(f, "tree-validation", 6)["tree"] {
		f.Add(b)
	}
	s := must(suite.Lookup(worldSuite))(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := codec.NewReader(b)
		tr, err := tree.Read(s, r)
		if err != nil || r.Finish() != nil {
			return
		}
		if !bytes.Equal(codec.Marshal(tr), b) {
			t.Errorf("%x encodes to %x", b, codec.Marshal(tr))
		}
		valid := tr.Validate() == nil
		members := 0
		for l := range tr.Members {
			members++
			checkPath(t, tr, l)
		}
		if got := len(tr.Resolution(tr.Size().Root(), nil)); valid && (got == 0 || got > members) {
			t.Errorf("the root of %d members resolves to %d nodes", members, got)
		}
	})
}

// checkPath checks the filtered direct path of a leaf.
func checkPath(t *testing.T, tr *tree.Tree, l tree.LeafIndex) {
	t.Helper()
	below := l.Node()
	for _, step := range tr.FilteredDirectPath(l) {
		if !step.Node.Contains(below) || step.Node == below || step.Copath.Contains(l.Node()) || !step.Node.Contains(step.Copath) {
			t.Fatalf("leaf %d: node %d with copath %d comes after node %d", l, step.Node, step.Copath, below)
		}
		if len(tr.Resolution(step.Copath, nil)) == 0 {
			t.Fatalf("leaf %d: nobody is beside node %d", l, step.Copath)
		}
		below = step.Node
	}
}

func FuzzProcess(f *testing.F) {
	w := newWorld(f, worldOptions{})
	_, app, err := w.members[0].Encrypt([]byte("hello"), nil)
	must(app, err)(f)
	private := *w.members[2]
	private.cfg = &Config{Auth: testAuth{}, PrivateHandshake: true}
	seeds := [][]byte{
		app, must(w.members[0].Commit(CommitOptions{}, worldTime))(f).Commit,
		w.forge(0, proposalContent(w.updateProposal(0, nil)), nil),
		must(private.Commit(CommitOptions{Remove: []tree.LeafIndex{3}}, worldTime))(f).Commit,
	}
	genuine := map[string]bool{}
	for _, b := range seeds {
		genuine[string(b)] = true
		f.Add(b)
	}
	messageSeeds(f, "public_message_commit", "private_message")
	state := w.members[1].Marshal()
	f.Fuzz(func(t *testing.T, b []byte) {
		next, _, err := w.members[1].Process(b, worldTime)
		if err != nil && next != w.members[1] {
			t.Error("a refused message changed the group")
		}
		if err == nil && !genuine[string(b)] {
			t.Errorf("a message that no member made is accepted: %x", b)
		}
		if !bytes.Equal(w.members[1].Marshal(), state) {
			t.Error("processing changed the value it started from")
		}
	})
}

// Nobody joins by a welcome that no member has sealed; one that is refused leaves the key
// package as it was, and the genuine one opens after it.
func FuzzJoin(f *testing.F) {
	w := newWorld(f, worldOptions{})
	f.Add(w.welcome)
	f.Add(w.welcome[4:])
	messageSeeds(f, "mls_welcome")
	own := w.lastKP.AppendTo(nil)
	genuine := must(parseWelcome(w.welcome))(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := Join(w.cfg, []*KeyPackage{w.lastKP}, b, JoinOptions{}, worldTime)
		if !bytes.Equal(own, w.lastKP.AppendTo(nil)) {
			t.Fatal("joining changed the key package")
		}
		if err != nil {
			return
		}
		// Entries for others are nobody's business; ours and the group info are sealed.
		got := must(parseWelcome(b))(t)
		s := w.members[0].pub.s
		ours, _ := genuine.Find(w.lastKP.Public.Ref(s))
		theirs, _ := got.Find(w.lastKP.Public.Ref(s))
		if !bytes.Equal(got.EncryptedGroupInfo, genuine.EncryptedGroupInfo) || !bytes.Equal(codec.Marshal(ours), codec.Marshal(theirs)) {
			t.Errorf("joined by a welcome that nobody made: %x", b)
		}
	})
}

// A group info reaches further than a welcome, which an outsider cannot seal. What an
// external join does with a good one is random, and would only confuse the fuzzer.
func FuzzGroupInfo(f *testing.F) {
	w := newWorld(f, worldOptions{})
	f.Add(must(w.members[0].GroupInfo(GroupInfoOptions{}))(f))
	messageSeeds(f, "mls_group_info")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := NewPublicGroup(w.cfg, b, nil, worldTime)
		if err == nil && !bytes.Contains(b, codec.Marshal(p.Context())) {
			t.Errorf("the group context is not the one of the group info")
		}
	})
}

func FuzzState(f *testing.F) {
	// A small state: the fuzzer spends its time on shrinking large ones.
	cfg := &Config{PastEpochs: 1}
	g := must(Create(cfg, must(NewIdentity(worldSuite, []byte("a")))(f), []byte("g"), nil, worldTime))(f)
	g = must(g.Commit(CommitOptions{}, worldTime))(f).Next
	g, _, err := g.Encrypt([]byte("x"), nil)
	must(g, err)(f)
	f.Add(g.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := Unmarshal(cfg, b)
		if err == nil && !bytes.Equal(g.Marshal(), b) {
			t.Error("a state that loads saves to other bytes")
		}
	})
}

// No input of one KiB makes a decoder allocate more than one MiB, whatever it claims.
func TestSmallInputsAllocateLittle(t *testing.T) {
	w := newWorld(t, worldOptions{})
	kib := bytes.Repeat([]byte{0}, 1024)
	inputs := map[string][]byte{
		"zeros": kib, "ones": bytes.Repeat([]byte{1}, 1024), "huge vectors": bytes.Repeat([]byte{0xbf, 0xff, 0xff, 0xff}, 256),
		"blank nodes": append(codec.Length(nil, 1000), append(bytes.Repeat([]byte{0}, 999), 1)...),
		"many lists":  append([]byte{0, 1, 0, 1}, kib[4:]...),
		"commit":      w.forge(0, &message.Content{Type: message.ContentCommit, Commit: &message.Commit{}}, nil),
	}
	blanks := append(bytes.Repeat([]byte{0}, 800), must(codec.Marshal(mirrorNode{leaf: w.members[0].pub.tree.Leaf(0)}), nil)(t)...)
	inputs["tree of blanks"] = codec.Bytes(nil, blanks)
	s := w.members[0].pub.s
	for name, in := range inputs {
		for what, f := range map[string]func(){
			"message":     func() { _, _ = message.Parse(in) },
			"process":     func() { _, _, _ = w.members[1].Process(in, worldTime) },
			"join":        func() { _, _ = Join(w.cfg, []*KeyPackage{w.lastKP}, in, JoinOptions{}, worldTime) },
			"tree":        func() { _, _ = tree.Read(s, codec.NewReader(in)) },
			"commit":      func() { _, _ = codec.Unmarshal(in, message.ReadCommit) },
			"state":       func() { _, _ = Unmarshal(w.cfg, in) },
			"key package": func() { _, _ = codec.Unmarshal(in, message.ReadKeyPackage) },
			"extensions":  func() { _, _ = codec.Unmarshal(in, tree.ReadExtensions) },
		} {
			if got := allocated(f); got > 1<<20 {
				t.Errorf("%s of %s: allocated %d bytes", what, name, got)
			}
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
