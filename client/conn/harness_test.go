package conn

import (
	"context"
	"testing"
	"time"

	"quicproquo/client/internal/scripted"
	"quicproquo/schemas"
)

// cluster is scripted nodes, and connects the library to them.
type cluster struct{ *scripted.Cluster }

// run is a test on fake time with scripted nodes; cluster.t is the test.
func run(t *testing.T, nodes int, script func(scripted.Request) scripted.Reply, do func(*cluster)) {
	t.Helper()
	scripted.Run(t, nodes, script, func(c *scripted.Cluster) { do(&cluster{c}) })
}

// always is a script of one reply.
func always(r scripted.Reply) func(scripted.Request) scripted.Reply {
	return func(scripted.Request) scripted.Reply { return r }
}

// first replies with each of rs once, then with empty results.
func first(rs ...scripted.Reply) func(scripted.Request) scripted.Reply {
	return func(scripted.Request) scripted.Reply {
		if len(rs) == 0 {
			return scripted.Reply{Index: 1}
		}
		r := rs[0]
		rs = rs[1:]
		return r
	}
}

// open connects the library to nodes of the cluster, all of them if none are
// named.
func (c *cluster) open(t *testing.T, endpoints ...string) *Conn {
	t.Helper()
	conn, err := Dial(c.options(endpoints...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return conn
}

func (c *cluster) options(endpoints ...string) Options {
	if len(endpoints) == 0 {
		endpoints = c.Endpoints
	}
	return Options{Endpoints: endpoints, TLS: c.TLS, PacketConn: c.Socket(), Resolve: scripted.Resolve}
}

// read and write are calls of one method of each kind.
func read(ctx context.Context, c *Conn) error {
	_, err := c.Health(ctx)
	return err
}

func write(ctx context.Context, c *Conn) error {
	return Call(ctx, c, Request{Method: 2, Write: true}, schemas.NewEnqueueParams,
		func(p schemas.EnqueueParams) error { return p.SetPayload([]byte("hello")) },
		func(schemas.EnqueueResults) error { return nil })
}

// within gives a call its time.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
