package testcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Move gives nodes that are down new public addresses, as when machines come back on
// another network, and writes them into every node's node.toml. At the old ones clients
// still find them and other nodes do not: what they have must lead them to each other.
func (c *Processes) Move(nodes ...*Process) error {
	var changes []string
	for _, n := range nodes {
		if n.relay == nil {
			return fmt.Errorf("move node %s: it has no relay to stand behind", n.peer.ID)
		}
		local, err := netip.ParseAddrPort(n.listen)
		if err != nil {
			return fmt.Errorf("move node %s: %w", n.peer.ID, err)
		}
		next, err := newRelay(c.options.Faults, string(n.peer.ID), local)
		if err != nil {
			return err
		}
		n.relay.clientsOnly.Store(true)
		n.left, n.relay = append(n.left, n.relay), next
		changes = append(changes, n.peer.Address, next.address())
		n.peer.Address = next.address()
	}
	rename := strings.NewReplacer(changes...)
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, rewrite(filepath.Join(n.dir, "node.toml"), rename))
	}
	return errors.Join(errs...)
}

func rewrite(file string, rename *strings.Replacer) error {
	raw, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(rename.Replace(string(raw))), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write new addresses: %w", err)
	}
	return nil
}
