// Package keyring keeps a node's cluster keys while one takes another's place.
//
// Most of the time there is one key, which the node's directory or its operator's secret
// store has. During a rotation there are two, and the node must come back with both
// whichever of them it is given at its next start: the file cluster.keys has all keys of the
// ring, sealed under each of them. It goes when the rotation is over.
//
// Reading order: keyring.go (the ring), file.go (the file).
package keyring

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"quicproquo/crypto/tlsid"
)

// IDSize is the length of an ID in bytes.
const IDSize = 16

// ID names a cluster key without telling it: 16 bytes of HKDF-SHA256 (RFC 5869). It is public.
type ID [IDSize]byte

// String is the id as people see it: 32 hexadecimal digits.
func (i ID) String() string { return hex.EncodeToString(i[:]) }

// IDOf is the name of a key.
func IDOf(key tlsid.ClusterKey) ID {
	id, err := hkdf.Key(sha256.New, key[:], nil, "quicproquo cluster key id v1", IDSize)
	if err != nil {
		panic("derive 16 bytes: " + err.Error())
	}
	return ID(id)
}

// MaxKeys is how many keys a ring has at most: the node's own, the two of a rotation, and
// some that were offered for one that has not begun.
const MaxKeys = 6

// ErrElsewhere tells that the key comes from where only the operator can change it.
var ErrElsewhere = errors.New("the cluster key comes from elsewhere")

// Keep leaves a key where the node reads it at its next start. Error: ErrElsewhere where
// only the operator can do that, and has not.
type Keep func(tlsid.ClusterKey) error

// Ring is the keys of one node. It is safe for concurrent use.
type Ring struct {
	dir  string
	keep Keep

	mu   sync.Mutex         // guards keys, and the file
	keys []tlsid.ClusterKey // the first is the one that the node was started with
}

// Open reads the keys of a node's directory, of which key is one: the one that the node was
// given. Error: ErrFile.
func Open(dir string, key tlsid.ClusterKey, keep Keep) (*Ring, error) {
	keys, err := read(dir, key)
	if err != nil {
		return nil, err
	}
	return &Ring{dir: dir, keep: keep, keys: keys}, nil
}

// Keys are all keys, first the one that the node was started with.
func (r *Ring) Keys() []tlsid.ClusterKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.keys)
}

// IDs are the names of Keys.
func (r *Ring) IDs() []ID {
	var ids []ID
	for _, key := range r.Keys() {
		ids = append(ids, IDOf(key))
	}
	return ids
}

// Find returns the key of a name.
func (r *Ring) Find(id ID) (tlsid.ClusterKey, bool) {
	for _, key := range r.Keys() {
		if IDOf(key) == id {
			return key, true
		}
	}
	return tlsid.ClusterKey{}, false
}

// Hold adds a key. When it returns the key is kept, whatever happens to the machine. Where
// the ring is full, the oldest key goes that is not the node's own nor among needed.
func (r *Ring) Hold(key tlsid.ClusterKey, needed ...ID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.keys, key) {
		return nil
	}
	next := append(slices.Clone(r.keys), key)
	for i := 1; len(next) > MaxKeys && i < len(next)-1; {
		if slices.Contains(needed, IDOf(next[i])) {
			i++
			continue
		}
		next = slices.Delete(next, i, i+1)
	}
	return r.replace(next)
}

// Settle ends a rotation: the key named id is left where the node reads it at its next
// start, with whatever else the directory has sealed under it by then (the caller sees to
// that), and the others go. Error: ErrElsewhere while the operator has not changed the
// source of the key: then the one that the source gives stays too.
func (r *Ring) Settle(id ID) error {
	key, ok := r.Find(id)
	if !ok {
		return fmt.Errorf("no cluster key %s in the directory", id)
	}
	err := ErrElsewhere
	if r.keep != nil {
		err = r.keep(key)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		left := []tlsid.ClusterKey{r.keys[0]}
		if r.keys[0] != key {
			left = append(left, key)
		}
		return errors.Join(err, r.replace(left))
	}
	return r.replace([]tlsid.ClusterKey{key})
}

// Settled reports whether the node has the key named id and no other.
func (r *Ring) Settled(id ID) bool {
	ids := r.IDs()
	return len(ids) == 1 && ids[0] == id
}

// replace keeps other keys from here on. The caller holds mu.
func (r *Ring) replace(keys []tlsid.ClusterKey) error {
	if slices.Equal(keys, r.keys) {
		return nil
	}
	if err := write(r.dir, keys); err != nil {
		return fmt.Errorf("keep cluster keys: %w", err)
	}
	old := r.keys
	r.keys = keys
	for i := range old {
		clear(old[i][:])
	}
	return nil
}

// Record is what the replicated state says of the cluster key: 38 bytes,
//
//	"qpqC" ‖ format 1 (1) ‖ in force (1) ‖ id of the key before (16) ‖ id of the key (16)
//
// While InForce is false all nodes get To, and everything is sealed under From. Then To is
// the one key of the cluster.
type Record struct {
	InForce  bool
	From, To ID
}

// RecordName is the name of the secret of the replicated state that holds the record.
const RecordName = "cluster-key"

const recordMagic = "qpqC\x01"

// ErrRecord tells that bytes are no record of a form that this program knows.
var ErrRecord = errors.New("what the cluster keeps of its key is in no form that this program knows: upgrade it")

// Encode writes the record.
func (r *Record) Encode() []byte {
	b := append([]byte(recordMagic), 0)
	if r.InForce {
		b[len(recordMagic)] = 1
	}
	return append(append(b, r.From[:]...), r.To[:]...)
}

// ParseRecord reads what Encode wrote. Error: ErrRecord.
func ParseRecord(b []byte) (r Record, err error) {
	rest, ok := bytes.CutPrefix(b, []byte(recordMagic))
	if !ok || len(rest) != 1+2*IDSize || rest[0] > 1 {
		return r, ErrRecord
	}
	return Record{rest[0] == 1, ID(rest[1 : 1+IDSize]), ID(rest[1+IDSize:])}, nil
}
