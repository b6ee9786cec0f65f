package cluster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"quicproquo/cluster/datadir"
	"quicproquo/cluster/keyring"
	"quicproquo/cluster/raftlog"
	"quicproquo/crypto/tlsid"
)

// Names in a node's directory. The CA's key lies sealed under the cluster key;
// the cluster key itself never enters log, snapshot or backup.
const (
	tlsDir         = "tls"
	clusterKeyFile = "cluster.key"
)

// Secrets are what a node's directory holds besides its data.
type Secrets struct {
	Identity *tlsid.Identity
	// Authority is nil on a node that was not given the CA's key.
	Authority *tlsid.Authority
	// ClusterKey wraps every secret that the cluster shares. It is the first of Keys.
	ClusterKey tlsid.ClusterKey
	// Keys has another one too while the cluster key is being replaced.
	Keys *keyring.Ring
}

// Provision makes a new cluster: a certificate authority and a cluster key, and
// for each peer the directory root/<id> with its certificate and both secrets.
func Provision(root string, peers []Peer, now time.Time) error {
	var key tlsid.ClusterKey
	if _, err := rand.Read(key[:]); err != nil {
		return fmt.Errorf("make cluster key: %w", err)
	}
	return ProvisionWith(root, peers, Custody{Key: key, WriteKey: writeKey(key)}, now)
}

// Custody says who of a new cluster's nodes is given what of its secrets.
type Custody struct {
	Key tlsid.ClusterKey
	// WriteKey leaves the cluster key in a node's directory, or does not.
	WriteKey func(dir string) error
	// Authorities are the nodes that are given the key of the certificate authority: they
	// sign the others' certificates anew. Nil: all.
	Authorities []tlsid.NodeID
}

func (c *Custody) check(peers []Peer) error {
	for _, id := range c.Authorities {
		if !slices.ContainsFunc(peers, func(p Peer) bool { return p.ID == id }) {
			return fmt.Errorf("node %s, which is to hold the CA's key, is none of the cluster's nodes", id)
		}
	}
	return nil
}

func (c *Custody) isAuthority(id tlsid.NodeID) bool {
	return c.Authorities == nil || slices.Contains(c.Authorities, id)
}

// ProvisionWith is Provision with a say in who holds what.
func ProvisionWith(root string, peers []Peer, custody Custody, now time.Time) error {
	cfg := Config{Peers: peers, Join: true}
	if err := errors.Join(cfg.checkPeers(), custody.check(peers)); err != nil {
		return err
	}
	authority, err := tlsid.NewAuthority(tlsid.NewClusterID(), now)
	if err != nil {
		return err
	}
	for _, p := range peers {
		if err := provisionNode(filepath.Join(root, string(p.ID)), p, authority, &custody, now); err != nil {
			return fmt.Errorf("make directory of node %s: %w", p.ID, err)
		}
	}
	return nil
}

// ProvisionMember makes the directory of one more node of a running cluster,
// with the secrets of a member's directory from.
func ProvisionMember(from, to string, p Peer, now time.Time) error {
	secrets, err := LoadSecrets(from)
	if err != nil {
		return err
	}
	custody := Custody{Key: secrets.ClusterKey, WriteKey: writeKey(secrets.ClusterKey)}
	return ProvisionMemberWith(secrets.Authority, to, p, custody, now)
}

// ProvisionMemberWith is ProvisionMember with a say in what the node is given of the
// cluster's secrets. A member's new directory has a new key, of which the cluster must be
// told (changeNodeKey) before it lets the node in.
func ProvisionMemberWith(authority *tlsid.Authority, to string, p Peer, custody Custody, now time.Time) error {
	if authority == nil {
		return errors.New("the directory does not hold the CA's key: name one that does (`qpqd init --ca-nodes`)")
	}
	return provisionNode(to, p, authority, &custody, now)
}

// writeKey leaves the cluster key in the clear.
func writeKey(key tlsid.ClusterKey) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, clusterKeyFile), key[:], 0o600) }
}

func provisionNode(dir string, p Peer, authority *tlsid.Authority, custody *Custody, now time.Time) error {
	host, _, err := net.SplitHostPort(p.Address)
	if err != nil {
		return fmt.Errorf("address %q is not HOST:PORT: %w", p.Address, err)
	}
	if err := os.MkdirAll(filepath.Join(dir, tlsDir), 0o700); err != nil {
		return err
	}
	identity, err := tlsid.NewIdentity(authority, p.ID, []string{host}, now)
	if err != nil {
		return err
	}
	if err := identity.Save(filepath.Join(dir, tlsDir)); err != nil {
		return err
	}
	if custody.isAuthority(p.ID) {
		if err := authority.Save(filepath.Join(dir, tlsDir), custody.Key); err != nil {
			return err
		}
	}
	if err := custody.WriteKey(dir); err != nil {
		return fmt.Errorf("write cluster key: %w", err)
	}
	return nil
}

// LoadIdentity reads a node's certificate, without any of the cluster's secrets.
func LoadIdentity(dir string) (*tlsid.Identity, error) {
	identity, err := tlsid.Load(filepath.Join(dir, tlsDir))
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w; `qpqd init` makes them", err)
	}
	return identity, nil
}

// LoadSecretsWith is LoadSecrets for a cluster key that is not in the directory, and that keep
// replaces (keyring.Open).
func LoadSecretsWith(dir string, key tlsid.ClusterKey, keep keyring.Keep) (Secrets, error) {
	identity, err := LoadIdentity(dir)
	if err != nil {
		return Secrets{}, err
	}
	ring, err := keyring.Open(dir, key, keep)
	if err != nil {
		return Secrets{}, err
	}
	secrets := Secrets{Identity: identity, ClusterKey: key, Keys: ring}
	secrets.Authority, err = tlsid.LoadAuthorityWith(filepath.Join(dir, tlsDir), ring.Keys())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Secrets{}, err
	}
	return secrets, nil
}

// LoadSecrets reads a node's directory.
func LoadSecrets(dir string) (Secrets, error) {
	if _, err := LoadIdentity(dir); err != nil {
		return Secrets{}, err
	}
	file := filepath.Join(dir, clusterKeyFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return Secrets{}, fmt.Errorf("read cluster key: %w; copy it from another node", err)
	}
	defer clear(raw)
	var key tlsid.ClusterKey
	if len(raw) != len(key) {
		return Secrets{}, fmt.Errorf("cluster key %s has %d bytes, want %d: copy it from another node", file, len(raw), len(key))
	}
	copy(key[:], raw)
	return LoadSecretsWith(dir, key, func(next tlsid.ClusterKey) error { return tlsid.ReplaceFile(dir, clusterKeyFile, next[:]) })
}

// MigrateLog moves a stopped node's raft log to another store and returns how
// many entries were moved.
func MigrateLog(dir string, to raftlog.Kind) (uint64, error) {
	d, err := datadir.Open(dir)
	if err != nil {
		return 0, err
	}
	moved, err := raftlog.Migrate(d.Raft(), to)
	return moved, errors.Join(err, d.Close())
}
