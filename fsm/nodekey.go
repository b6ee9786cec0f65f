package fsm

import (
	"quicproquo/schemas"
)

// Which key each node of the cluster has, and which keys nobody lets in
// (docs/decisions/0141). A key is known by the SHA-256 of its SubjectPublicKeyInfo. The
// certificate authority says that a certificate is of this cluster; that it is a certain
// member's, this table says.

// NodeKey is a node's key.
type NodeKey struct {
	Node string
	Key  [schemas.NodeKeySize]byte
}

// NodeKeys are all that the cluster knows of nodes' keys, in the order of their rows.
type NodeKeys struct {
	// Bound are the keys that nodes have. Those of Expected are no members yet: an operator
	// has said what key they will come with.
	Bound, Expected []NodeKey
	// Denied are the keys that nobody lets in. Node is who had it, or "".
	Denied []NodeKey
}

// nodeKeyRow is a node's key under its id.
type nodeKeyRow struct {
	key    [schemas.NodeKeySize]byte
	member bool
}

func (n *nodeKeyRow) encode() []byte {
	row := append([]byte(nil), n.key[:]...)
	if n.member {
		return append(row, 1)
	}
	return append(row, 0)
}

func (n *nodeKeyRow) decode(row []byte) error {
	f := fields{rest: row}
	f.exact(n.key[:])
	n.member = f.u8() == 1
	return f.done("node key")
}

type changeNodeKeyRequest struct {
	node   string
	key    []byte
	change schemas.ChangeNodeKey_Change
}

func (r *request) decodeChangeNodeKey(cmd schemas.Entry_command) error {
	msg, err := cmd.ChangeNodeKey()
	if err != nil {
		return err
	}
	var g reading
	r.changeNodeKey = changeNodeKeyRequest{g.text(msg.Node()), g.bytes(msg.Key()), msg.Change()}
	return g.err
}

// nodeKeys reads both tables; they are small.
func nodeKeys(st state) (k NodeKeys) {
	st.each(tableNodeKeys, rowKey(tableNodeKeys), func(key, value []byte) bool {
		var row nodeKeyRow
		if err := row.decode(value); err != nil {
			st.fail(err)
			return false
		}
		one := NodeKey{string(key[1:]), row.key}
		if row.member {
			k.Bound = append(k.Bound, one)
		} else {
			k.Expected = append(k.Expected, one)
		}
		return true
	})
	st.each(tableDeniedKeys, rowKey(tableDeniedKeys), func(key, value []byte) bool {
		one := NodeKey{Node: string(value)}
		copy(one.Key[:], key[1:])
		k.Denied = append(k.Denied, one)
		return true
	})
	return k
}

// Denies reports whether nobody lets a key in.
func (k *NodeKeys) Denies(key [schemas.NodeKeySize]byte) bool {
	for _, d := range k.Denied {
		if d.Key == key {
			return true
		}
	}
	return false
}

// KeyOf returns the key that a node has, or is to have; false: none is known.
func (k *NodeKeys) KeyOf(node string) (key [schemas.NodeKeySize]byte, known bool) {
	for _, list := range [][]NodeKey{k.Bound, k.Expected} {
		for _, b := range list {
			if b.Node == node {
				return b.Key, true
			}
		}
	}
	return key, false
}

// DeniesNode reports whether the key that a node is known by is denied.
func (k *NodeKeys) DeniesNode(node string) bool {
	key, known := k.KeyOf(node)
	return known && k.Denies(key)
}

// nodeOf returns whose key it is, "" for nobody's.
func (k *NodeKeys) nodeOf(key [schemas.NodeKeySize]byte) string {
	for _, list := range [][]NodeKey{k.Bound, k.Expected} {
		for _, b := range list {
			if b.Key == key {
				return b.Node
			}
		}
	}
	return ""
}

// canSpare reports whether the members whose keys are not denied are a majority of all
// without key, too.
func (k *NodeKeys) canSpare(key [schemas.NodeKeySize]byte) bool {
	left := 0
	for _, b := range k.Bound {
		if b.Key != key && !k.Denies(b.Key) {
			left++
		}
	}
	return left > len(k.Bound)/2
}

// maxNodeID is the longest id of a node, in bytes: a DNS label.
const maxNodeID = 63

// checkChangeNodeKey refuses in this order: the id's and the key's length, the kind of
// change, and what that says.
func checkChangeNodeKey(st state, r *request) refusal {
	p := &r.changeNodeKey
	keyed := p.change == schemas.ChangeNodeKey_Change_deny || p.change == schemas.ChangeNodeKey_Change_allow
	keyless := p.change == schemas.ChangeNodeKey_Change_deny && p.node != "" || p.change == schemas.ChangeNodeKey_Change_forget
	switch {
	case len(p.node) > maxNodeID, p.node == "" && !keyed:
		return refusal{schemas.Code_textTooLong, maxNodeID}
	case len(p.key) != schemas.NodeKeySize && (len(p.key) != 0 || !keyless):
		return refuse(schemas.Code_keyLength)
	}
	k := nodeKeys(st)
	switch p.change {
	case schemas.ChangeNodeKey_Change_bind, schemas.ChangeNodeKey_Change_replace:
		return checkBind(&k, p)
	case schemas.ChangeNodeKey_Change_forget:
		if _, known := k.KeyOf(p.node); !known {
			return refuse(schemas.Code_memberUnknown)
		}
		return refusal{}
	case schemas.ChangeNodeKey_Change_deny:
		return checkDeny(&k, p)
	case schemas.ChangeNodeKey_Change_allow:
		if !k.Denies([schemas.NodeKeySize]byte(p.key)) {
			return refuse(schemas.Code_memberUnknown)
		}
		return refusal{}
	}
	return refuse(schemas.Code_malformed) // of a later build
}

func checkBind(k *NodeKeys, p *changeNodeKeyRequest) refusal {
	key := [schemas.NodeKeySize]byte(p.key)
	have, known := k.KeyOf(p.node)
	switch whose := k.nodeOf(key); {
	case k.Denies(key):
		return refuse(schemas.Code_nodeKeyDenied)
	case whose != "" && whose != p.node:
		return refuse(schemas.Code_nodeKeyBound)
	case known && have != key && p.change == schemas.ChangeNodeKey_Change_bind:
		return refuse(schemas.Code_nodeKeyBound)
	case !known && len(k.Bound)+len(k.Expected) >= schemas.MaxNodeKeys:
		return refusal{schemas.Code_listTooLong, schemas.MaxNodeKeys}
	}
	return refusal{}
}

// deniedKey is the key that a denial is of: its own, or the one that the node has.
func (k *NodeKeys) deniedKey(p *changeNodeKeyRequest) (key [schemas.NodeKeySize]byte, known bool) {
	if len(p.key) == 0 {
		return k.KeyOf(p.node)
	}
	return [schemas.NodeKeySize]byte(p.key), true
}

func checkDeny(k *NodeKeys, p *changeNodeKeyRequest) refusal {
	key, known := k.deniedKey(p)
	switch {
	case !known:
		return refuse(schemas.Code_memberUnknown)
	case k.Denies(key):
		return refusal{}
	case len(k.Denied) >= schemas.MaxDeniedKeys:
		return refusal{schemas.Code_listTooLong, schemas.MaxDeniedKeys}
	case k.nodeOf(key) != "" && !k.canSpare(key):
		return refusal{schemas.Code_nodeKeyMajority, uint64(len(k.Bound))}
	}
	return refusal{}
}

// applyChangeNodeKey answers how many keys are denied now.
func applyChangeNodeKey(tx *Tx, r *request) Result {
	p := &r.changeNodeKey
	k := nodeKeys(tx)
	tx.newNodeKeys = true
	row := rowKey(tableNodeKeys, []byte(p.node))
	switch p.change {
	case schemas.ChangeNodeKey_Change_bind:
		tx.setNodeKey(row, p.key, true)
	case schemas.ChangeNodeKey_Change_replace:
		tx.setNodeKey(row, p.key, k.Knows(p.node))
	case schemas.ChangeNodeKey_Change_forget:
		tx.delete(tableNodeKeys, row)
	case schemas.ChangeNodeKey_Change_deny:
		key, _ := k.deniedKey(p)
		tx.set(tableDeniedKeys, rowKey(tableDeniedKeys, key[:]), []byte(k.nodeOf(key)))
	case schemas.ChangeNodeKey_Change_allow:
		tx.delete(tableDeniedKeys, rowKey(tableDeniedKeys, p.key))
	}
	return tx.numberResult(uint64(len(nodeKeys(tx).Denied)))
}

func (tx *Tx) setNodeKey(row, key []byte, member bool) {
	n := nodeKeyRow{key: [schemas.NodeKeySize]byte(key), member: member}
	tx.set(tableNodeKeys, row, n.encode())
}

// Knows reports whether a node has a key, and is not only to have one.
func (k *NodeKeys) Knows(node string) bool {
	for _, b := range k.Bound {
		if b.Node == node {
			return true
		}
	}
	return false
}
