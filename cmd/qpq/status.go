package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/cmd/qpq/internal/plain"
	"quicproquo/nodeaddr"
)

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Which node serves us, how far the nodes are, what waits",
		Long: `Asks every node that the profile knows how it is and how far it has applied the
log, and tells what waits in the profile (to be sent) and at the cluster (to be
fetched).`,
		Example: "  qpq status\n  qpq status --json",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.Status(ctx)
			r := &statusRecord{
				Username: s.Account.Username, LoggedIn: s.Account.LoggedIn, Node: s.Health.NodeID, Endpoint: s.Endpoint,
				Status: s.Health.Status, Leader: s.Health.Leader, Seen: s.Seen, RoundMs: float64(s.Round.Microseconds()) / 1000,
				Outbox: s.Outbox, Intents: s.Intents, Held: s.Held, Waiting: s.Waiting, Reason: s.Reason,
			}
			nodes, failed := a.askNodes(ctx)
			r.Nodes = nodes
			return errors.Join(a.print(r), err, failed)
		}),
	}
}

// nodeRecord is a node as a client sees it.
type nodeRecord struct {
	Endpoint string  `json:"endpoint"`
	Node     string  `json:"node,omitempty"`
	Status   string  `json:"status"`
	Leader   bool    `json:"leader"`
	Index    uint64  `json:"index"`
	Lag      uint64  `json:"lag"` // entries behind the furthest
	RoundMs  float64 `json:"roundMs"`
	Error    string  `json:"error,omitempty"`
	err      error
}

// nodePatience bounds the question to one node.
const nodePatience = 3 * time.Second

// askNodes asks each node that is known, over a connection of its own.
func (a *app) askNodes(ctx context.Context) ([]nodeRecord, error) {
	addresses, err := a.addresses()
	if err != nil {
		return nil, err
	}
	nodes := make([]nodeRecord, len(addresses))
	var wg sync.WaitGroup
	for i, address := range addresses {
		wg.Go(func() { nodes[i] = a.askNode(ctx, address) })
	}
	wg.Wait()
	var furthest uint64
	for _, n := range nodes {
		furthest = max(furthest, n.Index)
	}
	for i := range nodes {
		if nodes[i].Index > 0 {
			nodes[i].Lag = furthest - nodes[i].Index
		}
	}
	return nodes, nil
}

func (a *app) askNode(ctx context.Context, address nodeaddr.Address) nodeRecord {
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	n := nodeRecord{Endpoint: address.Endpoint, Status: "unreachable"}
	caller, err := a.dialOne(address)
	if err != nil {
		n.err, n.Error = err, message(err)
		return n
	}
	began := time.Now()
	health, err := caller.Health(ctx)
	if err == nil { // the first call had the handshake in it
		began = time.Now()
		health, err = caller.Health(ctx)
	}
	n.RoundMs = float64(time.Since(began).Microseconds()) / 1000
	if err = errors.Join(err, caller.Close()); err != nil {
		n.err, n.Error = err, message(err)
		return n
	}
	n.Node, n.Status, n.Leader, n.Index = health.NodeID, health.Status, health.Leader, caller.Seen()
	return n
}

// dialOne connects to one node only, with the trust of all.
func (a *app) dialOne(address nodeaddr.Address) (*conn.Conn, error) {
	options, err := a.connection()
	if err != nil {
		return nil, err
	}
	options.Endpoints = []string{address.Endpoint}
	return conn.Dial(options)
}

type statusRecord struct {
	header
	Username string       `json:"username"`
	LoggedIn bool         `json:"loggedIn"`
	Node     string       `json:"node,omitempty"`
	Endpoint string       `json:"endpoint,omitempty"`
	Status   string       `json:"status,omitempty"`
	Leader   bool         `json:"leader"`
	Seen     uint64       `json:"seen"`
	RoundMs  float64      `json:"roundMs"`
	Outbox   int          `json:"outbox"`
	Intents  int          `json:"intents"`
	Held     int          `json:"held"`
	Waiting  uint64       `json:"waiting"`
	Reason   string       `json:"reason,omitempty"`
	Nodes    []nodeRecord `json:"nodes"`
}

func (*statusRecord) kind() string { return "status" }

func (r *statusRecord) line() string {
	var b strings.Builder
	state := "logged in"
	if !r.LoggedIn {
		state = "logged out"
	}
	fmt.Fprintf(&b, "%s, %s\n", plain.Line(r.Username), state)
	if r.Endpoint != "" {
		fmt.Fprintf(&b, "served by      %s at %s (%s), %.1f ms away, seen index %d\n",
			plain.Line(r.Node), plain.Line(r.Endpoint), plain.Line(r.Status), r.RoundMs, r.Seen)
	}
	fmt.Fprintf(&b, "to be sent     %d messages, %d changes\nto be fetched  %d envelopes, %d held for earlier ones", r.Outbox, r.Intents, r.Waiting, r.Held)
	if r.Reason != "" {
		fmt.Fprintf(&b, "\nwaits because  %s", plain.Line(r.Reason))
	}
	for _, n := range r.Nodes {
		b.WriteString("\nnode           " + n.line())
	}
	return b.String()
}

// line is what people read of a node.
func (n *nodeRecord) line() string {
	if n.err != nil {
		return fmt.Sprintf("%s unreachable: %s", plain.Line(n.Endpoint), plain.Line(strings.ReplaceAll(n.Error, "\n", "; ")))
	}
	role := ""
	if n.Leader {
		role = ", leader"
	}
	return fmt.Sprintf("%s at %s: %s%s, index %d, %d behind", plain.Line(n.Node), plain.Line(n.Endpoint), plain.Line(n.Status), role, n.Index, n.Lag)
}
