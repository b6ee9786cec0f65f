package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"quicproquo/cluster/keyring"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

func ringID(b byte) keyring.ID { return keyring.IDOf(tlsid.ClusterKey{b}) }

// says is what a member that has applied so much says of cluster keys.
func says(id tlsid.NodeID, applied, version uint64, record keyring.Record, keys ...keyring.ID) Observation {
	return Observation{Member: Member{ID: id, Voter: true}, Status: &Status{ID: id, AppliedIndex: applied, KeyVersion: version, KeyRecord: record, ClusterKeys: keys}}
}

// What the log is to note next follows from the furthest member; where nodes have different
// keys, or too old a build, nothing begins.
func TestNextKeyRecord(t *testing.T) {
	t.Parallel()
	a, b, c := ringID(1), ringID(2), ringID(3)
	inForce, begun := keyring.Record{InForce: true, From: a, To: b}, keyring.Record{From: a, To: b}
	for _, tc := range []struct {
		name    string
		seen    []Observation
		version uint64
		from    keyring.ID
		want    string
	}{
		{"the first", []Observation{says("n1", 5, 0, keyring.Record{}, a), says("n2", 6, 0, keyring.Record{}, a)}, 0, a, ""},
		{"the second, one node still started with the first key", []Observation{says("n1", 9, 2, inForce, a, b), says("n2", 9, 2, inForce, b)}, 2, b, ""},
		{"one lags", []Observation{says("n1", 9, 2, inForce, b), says("n2", 3, 0, keyring.Record{}, a, b)}, 2, b, ""},
		{"one is down", []Observation{says("n1", 9, 2, inForce, b), {Member: Member{ID: "n2"}, Err: errors.New("down")}}, 2, b, ""},
		{"under way", []Observation{says("n1", 9, 1, begun, a, b)}, 0, a, ErrRotating.Error()},
		{"different keys", []Observation{says("n1", 9, 0, keyring.Record{}, a), says("n2", 5, 0, keyring.Record{}, b)}, 0, a, "n2 does not have the cluster key"},
		{"that one already", []Observation{says("n1", 9, 2, keyring.Record{InForce: true, From: a, To: c}, c)}, 0, a, "in force already"},
		{"an old build", []Observation{says("n1", 9, 0, keyring.Record{})}, 0, a, "upgrade all nodes"},
		{"nobody", []Observation{{Err: errors.New("down")}}, 0, a, "no member answers"},
	} {
		version, record, err := nextRecord(tc.seen, c)
		switch {
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		case tc.want == "" && (err != nil || version != tc.version || record != keyring.Record{From: tc.from, To: c}):
			t.Errorf("%s: %d, %+v, %v", tc.name, version, record, err)
		}
	}
}

// An operator is told who lacks the key and who is still started with another one; a denied
// node is not waited for.
func TestRotationOf(t *testing.T) {
	t.Parallel()
	a, b := ringID(1), ringID(2)
	r := keyring.Record{InForce: true, From: a, To: b}
	first := says("n1", 10, 2, r, b)
	first.Status.NodeKeys = fsm.NodeKeys{Bound: []fsm.NodeKey{{Node: "n5", Key: NodeKey{5}}}, Denied: []fsm.NodeKey{{Node: "n5", Key: NodeKey{5}}}}
	got := RotationOf([]Observation{first, says("n2", 4, 0, keyring.Record{}, a), says("n3", 9, 2, r, a, b), {Member: Member{ID: "n4"}}, {Member: Member{ID: "n5"}}})
	if got.Record != r || got.Version != 2 || len(got.Without) != 2 || got.Without[0] != "n2" || got.Without[1] != "n4" || len(got.Old) != 1 || got.Old[0] != "n3" {
		t.Errorf("%+v", got)
	}
	if got := RotationOf([]Observation{says("n1", 9, 0, keyring.Record{}, a)}); got.Version != 0 || got.Without != nil {
		t.Errorf("before the first: %+v", got)
	}
}

// A member that lies gives no key in place of another.
func TestAKeyIsTheOneThatIsNamed(t *testing.T) {
	t.Parallel()
	good := tlsid.ClusterKey{1}
	for name, raw := range map[string][]byte{"another": bytes.Repeat([]byte{2}, 32), "a short one": good[:31], "a long one": append(good[:], 0), "none": nil} {
		if _, err := keyNamed(raw, "n2", ringID(1)); err == nil || !strings.Contains(err.Error(), "n2 gave another key") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if key, err := keyNamed(good[:], "n2", ringID(1)); err != nil || key != good {
		t.Errorf("the one that is named: %v", err)
	}
}

// What a member says of its keys is read with limits; a record of a later form says nothing,
// and the rest of the status counts.
func TestClusterKeysInAStatus(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		ids    int
		length int
		record []byte
		want   string
		known  bool
	}{
		{"good", 2, keyring.IDSize, (&keyring.Record{To: ringID(1)}).Encode(), "", true},
		{"most", keyring.MaxKeys, keyring.IDSize, nil, "", false},
		{"later form", 1, keyring.IDSize, []byte("qpqC\x02"), "", false},
		{"too many", keyring.MaxKeys + 1, keyring.IDSize, nil, "at most", false},
		{"a short name", 1, keyring.IDSize - 1, nil, "has 15 bytes", false},
	} {
		_, seg := schemas.NewMessage()
		to, err := schemas.NewRootNodeStatus(seg)
		if err != nil {
			t.Fatal(err)
		}
		ids, err := to.NewClusterKeys(int32(tc.ids))
		if err != nil {
			t.Fatal(err)
		}
		for i := range tc.ids {
			if err := ids.Set(i, make([]byte, tc.length)); err != nil {
				t.Fatal(err)
			}
		}
		to.SetKeyVersion(3)
		if err := to.SetKeyRecord(tc.record); err != nil {
			t.Fatal(err)
		}
		s, err := readStatus(to)
		switch {
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		case tc.want == "" && (err != nil || len(s.ClusterKeys) != tc.ids || (s.KeyVersion == 3) != tc.known):
			t.Errorf("%s: %v, %d keys, version %d", tc.name, err, len(s.ClusterKeys), s.KeyVersion)
		}
	}
}
