package cluster

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"quicproquo/cluster/reference"
	"quicproquo/schemas"
)

func newTestTransport(t *testing.T) (*transport, raft.ServerAddress) {
	t.Helper()
	network, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Second, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	tr := newTransport(network, reference.NewKept("to", keptBytes))
	t.Cleanup(func() {
		if err := tr.Close(); err != nil {
			t.Error(err)
		}
	})
	return tr, network.LocalAddr()
}

// beat sends a heartbeat as raft's heartbeat goroutine does.
func beat(t *testing.T, from *raft.NetworkTransport, to raft.ServerAddress) error {
	t.Helper()
	var resp raft.AppendEntriesResponse
	return from.AppendEntries("to", to, &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: 3, Addr: []byte("leader")},
		Term:      7,
	}, &resp)
}

// answerer counts the heartbeats that reach the main loop's channel.
func answerer(t *testing.T, tr raft.Transport) <-chan raft.RPC {
	t.Helper()
	seen := make(chan raft.RPC, 10)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case rpc := <-tr.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 7, Success: true}, nil)
				seen <- rpc
			}
		}
	}()
	return seen
}

// The heartbeat fast path is off (hashicorp/raft #695): a handler set on our
// transport is never called, and the heartbeat reaches raft's main loop. The
// bare transport is the negative control: there the handler gets it.
func TestHeartbeatsTakeTheMainLoop(t *testing.T) {
	sender, _ := newTestTransport(t)
	for _, c := range []struct {
		name     string
		wrap     func(*transport) raft.Transport
		mainLoop bool
	}{
		{"our transport", func(tr *transport) raft.Transport { return tr }, true},
		{"bare transport", func(tr *transport) raft.Transport { return tr.NetworkTransport }, false},
	} {
		receiver, address := newTestTransport(t)
		tr := c.wrap(receiver)
		fast := make(chan raft.RPC, 10)
		tr.SetHeartbeatHandler(func(rpc raft.RPC) {
			rpc.Respond(&raft.AppendEntriesResponse{Term: 7, Success: true}, nil)
			fast <- rpc
		})
		slow := answerer(t, tr)
		if err := beat(t, sender.NetworkTransport, address); err != nil {
			t.Fatalf("%s: heartbeat: %v", c.name, err)
		}
		select {
		case <-slow:
			if !c.mainLoop {
				t.Errorf("%s: the heartbeat took the main loop, so this test can't see the fast path", c.name)
			}
		case <-fast:
			if c.mainLoop {
				t.Errorf("%s: the heartbeat took the fast path", c.name)
			}
		}
	}
}

// What raft finds out about a transport by type assertion is still there.
func TestTransportKeepsItsAbilities(t *testing.T) {
	tr, _ := newTestTransport(t)
	var any raft.Transport = tr
	if _, ok := any.(raft.WithPreVote); !ok {
		t.Error("pre-vote is gone")
	}
	if _, ok := any.(raft.WithClose); !ok {
		t.Error("Close is gone")
	}
	if _, err := any.AppendEntriesPipeline("to", "127.0.0.1:1"); err == raft.ErrPipelineReplicationNotSupported { //nolint:errorlint // raft compares it so
		t.Error("pipelining is gone")
	}
}

// Replication to a silent peer waits for its heartbeat instead of running up
// raft's backoff, and ends at once when the peer is back or the node closes.
func TestReplicationWaitsForASilentPeersHeartbeat(t *testing.T) {
	sender, _ := newTestTransport(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := raft.ServerAddress(listener.Addr().String())
	listener.Close()
	heartbeat := func(to raft.ServerAddress) error {
		var resp raft.AppendEntriesResponse
		return sender.AppendEntries("peer", to, &raft.AppendEntriesRequest{Term: 7}, &resp)
	}
	if heartbeat(dead) == nil {
		t.Fatal("a heartbeat to nobody succeeded")
	}
	receiver, address := newTestTransport(t)
	answerer(t, receiver)
	replicated := make(chan error, 1)
	go func() {
		var resp raft.AppendEntriesResponse
		replicated <- sender.AppendEntries("peer", address, &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 3, PrevLogTerm: 7}, &resp)
	}()
	select {
	case err := <-replicated:
		t.Fatalf("replication did not wait for the heartbeat (%v)", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := heartbeat(address); err != nil {
		t.Fatal(err)
	}
	if err := <-replicated; err != nil {
		t.Fatalf("replication after the heartbeat: %v", err)
	}
}

// A follower's refusal ends a pipeline, so that a sender never waits for a place
// that nobody frees. The bare pipeline is the negative control: there the sender
// hangs once raft has stopped reading answers.
func TestRefusalEndsThePipeline(t *testing.T) {
	for _, c := range []struct {
		name  string
		open  func(*transport, raft.ServerAddress) (raft.AppendPipeline, error)
		hangs bool
	}{
		{"ours", func(tr *transport, to raft.ServerAddress) (raft.AppendPipeline, error) {
			return tr.AppendEntriesPipeline("to", to)
		}, false},
		{"bare", func(tr *transport, to raft.ServerAddress) (raft.AppendPipeline, error) {
			return tr.NetworkTransport.AppendEntriesPipeline("to", to)
		}, true},
	} {
		sender, _ := newTestTransport(t)
		receiver, address := newTestTransport(t)
		refuser(t, receiver)
		p, err := c.open(sender, address)
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			for {
				req := &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 3, PrevLogTerm: 7}
				if _, err := p.AppendEntries(req, &raft.AppendEntriesResponse{}); err != nil {
					sent <- err
					return
				}
			}
		}()
		if answer := <-p.Consumer(); answer.Response().Success {
			t.Fatalf("%s: the refusal arrived as a success", c.name)
		}
		// From here on nobody reads answers, as in raft.
		select {
		case err := <-sent:
			if c.hangs {
				t.Errorf("%s: the sender was woken (%v): this test can't see the hang", c.name, err)
			}
		case <-time.After(300 * time.Millisecond):
			if !c.hangs {
				t.Errorf("%s: the sender hangs after a refusal", c.name)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if c.hangs {
			if err := <-sent; err == nil {
				t.Errorf("%s: a send on a closed pipeline succeeded", c.name)
			}
		}
	}
}

// refuser answers every request with Success false.
func refuser(t *testing.T, tr raft.Transport) {
	t.Helper()
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case rpc := <-tr.Consumer():
				rpc.Respond(&raft.AppendEntriesResponse{Term: 7}, nil)
			}
		}
	}()
}

// A log entry whose commands a follower has forwarded goes through the pipeline to it
// without them, and its raft gets it whole. Who does not keep them refuses it, and
// gets entries in full from then on. Requests outside the pipeline, which follow one
// that failed, are always in full.
func TestReferencesThroughThePipeline(t *testing.T) {
	sender, _ := newTestTransport(t)
	receiver, address := newTestTransport(t)
	wire, err := raft.NewTCPTransport("127.0.0.1:0", nil, 1, time.Second, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	entries := [][]byte{bytes.Repeat([]byte{1}, 4096), bytes.Repeat([]byte{2}, 4096)}
	data, err := schemas.SealBatch(1, entries)
	if err != nil {
		t.Fatal(err)
	}
	number := receiver.kept.Keep(entries)
	log := raft.Log{Index: 4, Term: 7, Type: raft.LogCommand, Data: data, Extensions: reference.Describe(data, entries,
		[]reference.Origin{{Node: "to", Forward: number}, {Node: "to", Forward: number, Index: 1}})}
	request := func() *raft.AppendEntriesRequest {
		copied := log
		return &raft.AppendEntriesRequest{Term: 7, PrevLogEntry: 3, PrevLogTerm: 7, Entries: []*raft.Log{&copied}}
	}
	arrived := func(at <-chan raft.RPC) *raft.Log {
		t.Helper()
		select {
		case rpc := <-at:
			return rpc.Command.(*raft.AppendEntriesRequest).Entries[0]
		case <-time.After(5 * time.Second):
			t.Fatal("the request did not arrive")
			return nil
		}
	}
	whole := func(what string, got *raft.Log) {
		t.Helper()
		if !bytes.Equal(got.Data, data) || len(got.Extensions) != 0 {
			t.Errorf("%s: %d bytes and %d of references arrived, want %d and none", what, len(got.Data), len(got.Extensions), len(data))
		}
	}

	atWire, atRaft := answerer(t, wire), answerer(t, receiver)
	if err := send(t, sender, wire.LocalAddr(), request()); err != nil {
		t.Fatal(err)
	}
	if got := arrived(atWire); len(got.Data) > 256 || len(got.Extensions) == 0 {
		t.Errorf("%d bytes of an entry went over the wire although its receiver keeps 8,192 of them", len(got.Data))
	}
	if err := send(t, sender, address, request()); err != nil {
		t.Fatalf("a follower refused an entry that it can put together: %v", err)
	}
	whole("what raft gets", arrived(atRaft))

	receiver.kept.Keep([][]byte{make([]byte, keptBytes)}) // pushes everything out
	if err := send(t, sender, address, request()); err == nil {
		t.Fatal("a follower took an entry that it can't put together")
	}
	if err := sender.AppendEntries("to", address, request(), &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	whole("outside the pipeline", arrived(atRaft))
	if err := send(t, sender, address, request()); err != nil {
		t.Fatalf("after a refusal: %v", err)
	}
	whole("through the pipeline after a refusal", arrived(atRaft))
	if err := send(t, sender, wire.LocalAddr(), request()); err != nil {
		t.Fatal(err)
	}
	whole("on the wire after a refusal", arrived(atWire))
}

// send sends a request through a pipeline of its own and returns its answer's error.
func send(t *testing.T, from *transport, to raft.ServerAddress, request *raft.AppendEntriesRequest) error {
	t.Helper()
	p, err := from.AppendEntriesPipeline("to", to)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.AppendEntries(request, &raft.AppendEntriesResponse{}); err != nil {
		t.Fatal(err)
	}
	answer := <-p.Consumer()
	return answer.Error()
}
