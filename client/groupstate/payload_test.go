package groupstate_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"quicproquo/client/groupstate"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
)

// realMessages are real messages of a group, by name.
func realMessages(tb testing.TB) map[string][]byte {
	tb.Helper()
	ok := func(b []byte, err error) []byte {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return b
	}
	g := groupOf(tb, newOwner(tb, 1), full())
	kp, err := newOwner(tb, 2).identity(tb).NewKeyPackage(now, mls.KeyPackageOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	pending, err := g.Commit(mls.CommitOptions{Add: []*message.KeyPackage{kp.Public}}, now)
	if err != nil {
		tb.Fatal(err)
	}
	_, application, err := g.Encrypt([]byte("hello"), nil)
	ok(application, err)
	_, proposal, err := g.ProposeUpdate(nil, now)
	ok(proposal, err)
	return map[string][]byte{
		"welcome": pending.Welcome, "commit": pending.Commit, "application": application, "proposal": proposal,
		"key package": kp.Message(), "group info": ok(g.GroupInfo(mls.GroupInfoOptions{})),
	}
}

// Each kind of message is told from the others, with its group and epoch, and a welcome
// names the key packages that it is for.
func TestUnwrap(t *testing.T) {
	all := realMessages(t)
	for name, sort := range map[string]groupstate.Sort{
		"welcome": groupstate.SortWelcome, "commit": groupstate.SortCommit,
		"application": groupstate.SortApplication, "proposal": groupstate.SortProposal,
	} {
		p, err := groupstate.Unwrap(groupstate.Wrap(all[name]))
		if err != nil || p.Sort != sort || !bytes.Equal(p.Message, all[name]) {
			t.Errorf("%s: got sort %d, %v, want %d", name, p.Sort, err, sort)
		}
		if welcome := sort == groupstate.SortWelcome; welcome != (len(p.KeyPackages) == 1) || welcome != (p.GroupID == nil) {
			t.Errorf("%s: got %d key packages and group %x", name, len(p.KeyPackages), p.GroupID)
		}
		if sort != groupstate.SortWelcome && (!bytes.Equal(p.GroupID, bytes.Repeat([]byte{9}, 32)) || p.Epoch != 0) {
			t.Errorf("%s: got group %x, epoch %d", name, p.GroupID, p.Epoch)
		}
	}
}

// What is no message to a group, or comes in a format of later, is refused.
func TestUnwrapRefused(t *testing.T) {
	all := realMessages(t)
	commit := groupstate.Wrap(all["commit"])
	for name, b := range map[string][]byte{
		"nothing":         nil,
		"a format alone":  {1},
		"format 0":        append([]byte{0}, commit[1:]...),
		"format 2":        append([]byte{2}, commit[1:]...),
		"a key package":   groupstate.Wrap(all["key package"]),
		"a group info":    groupstate.Wrap(all["group info"]),
		"a byte too many": append(bytes.Clone(commit), 0),
		"a byte too few":  commit[:len(commit)-1],
		"no wrapping":     all["commit"],
	} {
		if p, err := groupstate.Unwrap(b); !errors.Is(err, groupstate.ErrPayload) {
			t.Errorf("%s: got %+v, %v, want ErrPayload", name, p, err)
		}
	}
}

// What a payload is said to be agrees with a second reader of the first fields, which
// knows nothing of the first.
func FuzzPayload(f *testing.F) {
	for _, m := range realMessages(f) {
		f.Add(groupstate.Wrap(m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := groupstate.Unwrap(b)
		if err != nil {
			if !errors.Is(err, groupstate.ErrPayload) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(groupstate.Wrap(p.Message), b) {
			t.Errorf("%x is not what its message wraps to", b)
		}
		wire, rest := binary.BigEndian.Uint16(b[3:]), b[5:]
		if (wire == 3) != (p.Sort == groupstate.SortWelcome) || wire < 1 || wire > 3 {
			t.Fatalf("wire format %d is said to be of sort %d", wire, p.Sort)
		}
		if wire == 3 {
			return
		}
		group, rest := vector(rest)
		if epoch := binary.BigEndian.Uint64(rest); !bytes.Equal(group, p.GroupID) || epoch != p.Epoch {
			t.Errorf("group %x, epoch %d are said to be %x, %d", group, epoch, p.GroupID, p.Epoch)
		}
		if wire == 2 {
			want := map[byte]groupstate.Sort{1: groupstate.SortApplication, 2: groupstate.SortProposal, 3: groupstate.SortCommit}[rest[8]]
			if p.Sort != want {
				t.Errorf("content type %d is said to be of sort %d", rest[8], p.Sort)
			}
		}
	})
}

// vector takes an opaque<V> apart (RFC 9420 §2.1.2).
func vector(b []byte) (body, rest []byte) {
	size := 1 << (b[0] >> 6)
	n := int(b[0] & 0x3f)
	for _, c := range b[1:size] {
		n = n<<8 | int(c)
	}
	return b[size : size+n], b[size+n:]
}
