package netns

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"quicproquo/testcluster"
)

// headers is what an IPv4 packet has before the UDP payload, in bytes.
const headers = 20 + 8

// lossScale is the resolution of a share of packets.
const lossScale = 1_000_000

// rules are what a host's kernel does to the packets that come in.
type rules struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
}

func newRules(s space) (rules, error) {
	conn, err := nftables.New(nftables.WithNetNSFd(s.fd()))
	if err != nil {
		return rules{}, fmt.Errorf("open nftables: %w", err)
	}
	r := rules{conn: conn}
	r.table = conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "qpqchaos"})
	r.chain = conn.AddChain(&nftables.Chain{
		Name: "in", Table: r.table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter,
	})
	if err := conn.Flush(); err != nil {
		return rules{}, fmt.Errorf("make a table of nftables: %w", err)
	}
	return r, nil
}

// set replaces all rules at once: what comes from these addresses suffers these faults,
// and whatever has more than largest bytes of UDP payload is lost; 0: nothing is for that.
func (r rules) set(faults map[netip.Addr]testcluster.LinkFault, largest int) error {
	r.conn.FlushChain(r.chain)
	for _, match := range drops(testcluster.LinkFault{Largest: largest}) {
		r.drop(match)
	}
	for from, fault := range faults {
		for _, match := range drops(fault) {
			r.drop(append(source(from), match...))
		}
	}
	if err := r.conn.Flush(); err != nil {
		return fmt.Errorf("set rules of nftables: %w", err)
	}
	return nil
}

// drop adds a rule that drops, and counts, what matches.
func (r rules) drop(match []expr.Any) {
	r.conn.AddRule(&nftables.Rule{
		Table: r.table, Chain: r.chain, Exprs: append(match, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}),
	})
}

// dropped counts the packets that the present rules have dropped.
func (r rules) dropped() (packets uint64, err error) {
	list, err := r.conn.GetRules(r.table, r.chain)
	if err != nil {
		return 0, fmt.Errorf("read rules of nftables: %w", err)
	}
	for _, rule := range list {
		for _, e := range rule.Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				packets += counter.Packets
			}
		}
	}
	return packets, nil
}

// source matches packets from an address.
func source(from netip.Addr) []expr.Any {
	const sourceAddress = 12 // its place in an IPv4 header
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceAddress, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: from.AsSlice()},
	}
}

// drops are the matches that a fault drops, each for itself.
func drops(fault testcluster.LinkFault) (matches [][]expr.Any) {
	if fault.Cut {
		return [][]expr.Any{nil}
	}
	if fault.Loss > 0 {
		matches = append(matches, []expr.Any{
			&expr.Numgen{Register: 1, Type: unix.NFT_NG_RANDOM, Modulus: lossScale},
			networkOrder(),
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: number(uint32(fault.Loss * lossScale))},
		})
	}
	if fault.Largest > 0 {
		matches = append(matches, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyLEN, Register: 1},
			networkOrder(),
			&expr.Cmp{Op: expr.CmpOpGt, Register: 1, Data: number(uint32(fault.Largest + headers))},
		})
	}
	return matches
}

// networkOrder makes a number of this machine comparable: nftables compares bytes.
func networkOrder() expr.Any {
	return &expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4}
}

func number(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
