package vault

import (
	"strings"
	"time"
)

// Profile is who the vault belongs to.
type Profile struct {
	Username   string
	AccountKey []byte // Ed25519 seed, 32 bytes
	Device     [16]byte
	DeviceKey  []byte // Ed25519 seed, 32 bytes
	// Registered is set once the cluster has the account.
	Registered bool
	Created    time.Time
	// Seen is the highest log index that the cluster's answers have reflected.
	Seen uint64
	// Incarnation is the cluster's at the last upload of key packages.
	Incarnation uint64
}

// Profile returns the profile, nil if there is none yet.
func (tx *Tx) Profile() (p *Profile, err error) {
	found, err := tx.one(`SELECT username, account_key, device, device_key, registered, created, seen, incarnation FROM profile`,
		func(r *row) {
			p = &Profile{
				Username: r.text(0), AccountKey: r.bytes(1), DeviceKey: r.bytes(3),
				Registered: r.bool(4), Created: r.time(5), Seen: r.uint64(6), Incarnation: r.uint64(7),
			}
			p.Device = r.id(2)
		})
	if !found {
		return nil, err
	}
	return p, err
}

// SetProfile replaces the profile.
func (tx *Tx) SetProfile(p *Profile) error {
	return tx.run(`INSERT OR REPLACE INTO profile (id, username, account_key, device, device_key, registered, created, seen, incarnation)
		VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)`,
		p.Username, p.AccountKey, p.Device[:], p.DeviceKey, p.Registered, p.Created, p.Seen, p.Incarnation)
}

// SetSeen notes the highest log index. It goes back only where the cluster has said that
// it never wrote what was seen.
func (tx *Tx) SetSeen(index uint64) error {
	return tx.run(`UPDATE profile SET seen = ?`, index)
}

// Session is the right to act for the account.
type Session struct {
	Token   []byte
	Expires time.Time
}

// Session returns the session, nil if there is none.
func (tx *Tx) Session() (s *Session, err error) {
	_, err = tx.one(`SELECT token, expires FROM session`, func(r *row) {
		s = &Session{Token: r.bytes(0), Expires: r.time(1)}
	})
	return s, err
}

// SetSession replaces the session; nil removes it.
func (tx *Tx) SetSession(s *Session) error {
	if s == nil {
		return tx.run(`DELETE FROM session`)
	}
	return tx.run(`INSERT OR REPLACE INTO session (id, token, expires) VALUES (1, ?, ?)`, s.Token, s.Expires)
}

// Nodes returns the addresses of the cluster's nodes that were learned last.
func (tx *Tx) Nodes() (list []string, err error) {
	_, err = tx.one("SELECT value FROM meta WHERE name = ?", func(r *row) { list = strings.Fields(r.text(0)) }, metaNodes)
	return list, err
}

// SetNodes replaces what Nodes returns.
func (tx *Tx) SetNodes(list []string) error {
	return tx.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", metaNodes, strings.Join(list, "\n"))
}
