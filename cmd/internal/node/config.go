// Package node is what both programs need to run one node from its directory: the
// file node.toml, making the directories of a cluster, and a node with its client
// server.
package node

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
)

// ConfigFile is the name of the configuration in a node's directory.
const ConfigFile = "node.toml"

// Config is what `qpqd init` writes and `qpqd run` reads.
type Config struct {
	ID      string   `toml:"id" comment:"The node's name; it never changes."`
	Listen  string   `toml:"listen" comment:"The one UDP port, on this machine."`
	Address string   `toml:"address" comment:"Where the other nodes and clients reach it."`
	Peers   []string `toml:"peers" comment:"The set that the cluster starts from; the same on every node."`
	// ClusterKey is where the cluster key comes from (cmd/internal/keysource); empty: the file.
	ClusterKey string `toml:"cluster-key,omitempty" comment:"Where the cluster key comes from."`
}

func (c Config) write(dir string) error {
	raw, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, ConfigFile), raw, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// Load reads a node's file, for commands that need only who is where.
func Load(dir string) (Config, error) {
	file := filepath.Join(dir, ConfigFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	var config Config
	if err := toml.Unmarshal(raw, &config); err != nil {
		return Config{}, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return config, nil
}

// ParsePeers reads ID=HOST:PORT.
func ParsePeers(texts []string) ([]cluster.Peer, error) {
	peers := make([]cluster.Peer, 0, len(texts))
	for _, text := range texts {
		id, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("node %q is not ID=HOST:PORT, such as n1=10.0.0.1:4430", text)
		}
		peers = append(peers, cluster.Peer{ID: tlsid.NodeID(id), Address: address})
	}
	return peers, nil
}

// Provision writes root/<id> for each peer. listen gives the local address for a
// node's public one.
func Provision(root string, peers []cluster.Peer, listen func(string) (string, error)) error {
	return provision(root, peers, listen, "", func() error { return cluster.Provision(root, peers, time.Now()) })
}

// ProvisionWith is Provision with a say in who holds which of the cluster's secrets; source
// is what node.toml says of the cluster key.
func ProvisionWith(root string, peers []cluster.Peer, listen func(string) (string, error), source string, custody cluster.Custody) error {
	return provision(root, peers, listen, source, func() error { return cluster.ProvisionWith(root, peers, custody, time.Now()) })
}

func provision(root string, peers []cluster.Peer, listen func(string) (string, error), source string, secrets func() error) error {
	texts := make([]string, 0, len(peers))
	for _, p := range peers {
		texts = append(texts, string(p.ID)+"="+p.Address)
		dir := filepath.Join(root, string(p.ID))
		if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s exists already: choose another --out, a new cluster must not overwrite an old one", dir)
		}
	}
	if err := secrets(); err != nil {
		return err
	}
	for _, p := range peers {
		local, err := listen(p.Address)
		if err != nil {
			return err
		}
		config := Config{ID: string(p.ID), Listen: local, Address: p.Address, Peers: texts, ClusterKey: source}
		if err := config.write(filepath.Join(root, string(p.ID))); err != nil {
			return err
		}
	}
	return nil
}

// Replace writes a directory for one node of a cluster, with a new key, by the node.toml of
// another node's and what custody gives it. It returns the node's key (cluster.NodeKey).
func Replace(from, to string, id tlsid.NodeID, address string, authority *tlsid.Authority, custody cluster.Custody) (cluster.NodeKey, error) {
	config, err := Load(from)
	if err != nil {
		return cluster.NodeKey{}, err
	}
	peers, err := ParsePeers(config.Peers)
	if err != nil {
		return cluster.NodeKey{}, err
	}
	if config.Address, err = replaceAddress(peers, id, address); err != nil {
		return cluster.NodeKey{}, err
	}
	if _, err := os.Stat(to); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return cluster.NodeKey{}, fmt.Errorf("%s exists already: name a directory that does not", to)
	}
	if err := cluster.ProvisionMemberWith(authority, to, cluster.Peer{ID: id, Address: config.Address}, custody, time.Now()); err != nil {
		return cluster.NodeKey{}, err
	}
	config.ID = string(id)
	if config.Listen, err = ListenEverywhere(config.Address); err != nil {
		return cluster.NodeKey{}, err
	}
	if err := config.write(to); err != nil {
		return cluster.NodeKey{}, err
	}
	identity, err := cluster.LoadIdentity(to)
	if err != nil {
		return cluster.NodeKey{}, err
	}
	return tlsid.Fingerprint(identity.Leaf()), nil
}

// replaceAddress is where a node is to be: where it was, if nothing is said.
func replaceAddress(peers []cluster.Peer, id tlsid.NodeID, address string) (string, error) {
	for _, p := range peers {
		if p.ID == id && address == "" {
			return p.Address, nil
		}
	}
	if address == "" {
		return "", fmt.Errorf("node.toml does not say where %s is: give its --address HOST:PORT", id)
	}
	return address, nil
}

// ListenEverywhere keeps the port: a machine's own address may be behind NAT.
func ListenEverywhere(address string) (string, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("address %q is not HOST:PORT: %w", address, err)
	}
	return ":" + port, nil
}

// ListenThere is for nodes on this machine.
func ListenThere(address string) (string, error) { return address, nil }
