package testcluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/client/conn"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// Two people meet across the cluster: each step goes through another node, and the
// leader dies in between. The client library keeps its streams.
func TestWalkOverAllNodes(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ctx := within(t, 2*time.Minute)
	nodes := connectEach(t, c)
	ann, bob := newPerson(t, "ann"), newPerson(t, "bob")
	register(t, nodes[1], ann)
	register(t, nodes[2], bob)
	session, _, err := nodes[0].Login(ctx, ann.credentials())
	fatal(t, err)
	next := func(from, to *conn.Conn) *conn.Conn {
		to.Observe(from.Seen())
		to.SetSession(session)
		return to
	}
	channel, wasNew, err := next(nodes[0], nodes[1]).CreateChannel(ctx, bob.account())
	if err != nil || !wasNew {
		t.Fatalf("create the channel: new %v, %v", wasNew, err)
	}
	killLeader(t, c)
	seq, err := next(nodes[1], nodes[2]).Enqueue(ctx, conn.Message{To: bob.account(), Channel: channel, Payload: []byte("hello")})
	if err != nil || seq != 1 {
		t.Fatalf("enqueue: seq %d, %v", seq, err)
	}
	reader := connect(t, c, c.Nodes()[0])
	_, _, err = reader.Login(ctx, bob.credentials())
	fatal(t, err)
	reader.Observe(nodes[2].Seen())
	list, err := reader.Fetch(ctx, conn.Read{Queue: conn.Queue{Channel: channel}})
	if err != nil || len(list) != 1 || string(list[0].Data) != "hello" || list[0].Seq != 1 {
		t.Fatalf("fetch: %+v, %v", list, err)
	}
	c.SameT(t)
}

// A stranger's client does the same with a stream for each call, with the published
// parameters alone and its token in each call.
func TestWalkWithAStreamPerCall(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	ann, bob := newSimpleClient(t, c), newSimpleClient(t, c)
	ann.register(1, newPerson(t, "ann"))
	bob.register(2, newPerson(t, "bob"))
	ann.login(0)
	bob.login(1)

	peer, own := bob.person.account(), ann.person.account()
	created := schemas.CreateChannelResults(simpleCall(ann, 1, 18, schemas.NewCreateChannelParams, func(p schemas.CreateChannelParams) error {
		return errors.Join(ann.auth(p.NewAuth()), p.SetPeerKey(peer[:]))
	}))
	id, err := created.ChannelId()
	if err != nil || len(id) != 16 || !created.WasNew() {
		t.Fatalf("createChannel: id of %d bytes, new %v, %v", len(id), created.WasNew(), err)
	}
	bob.seen = ann.seen
	again := schemas.CreateChannelResults(simpleCall(bob, 2, 18, schemas.NewCreateChannelParams, func(p schemas.CreateChannelParams) error {
		return errors.Join(bob.auth(p.NewAuth()), p.SetPeerKey(own[:]))
	}))
	if same, err := again.ChannelId(); err != nil || !bytes.Equal(same, id) || again.WasNew() {
		t.Fatalf("the other side gets %x, new %v, %v; want %x", same, again.WasNew(), err, id)
	}
	killLeader(t, c)
	sent := schemas.EnqueueResults(simpleCall(ann, 2, 2, schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
		p.SetVersion(1)
		return errors.Join(ann.auth(p.NewAuth()), p.SetRecipientKey(peer[:]), p.SetChannelId(id), p.SetPayload([]byte("hello")))
	}))
	if sent.Seq() != 1 {
		t.Fatalf("enqueue: seq %d, want 1", sent.Seq())
	}
	bob.seen = max(bob.seen, ann.seen)
	fetched := schemas.FetchResults(simpleCall(bob, 0, 3, schemas.NewFetchParams, func(p schemas.FetchParams) error {
		p.SetVersion(1)
		return errors.Join(bob.auth(p.NewAuth()), p.SetRecipientKey(peer[:]), p.SetChannelId(id))
	}))
	list, err := fetched.Payloads()
	if err != nil || list.Len() != 1 {
		t.Fatalf("fetch: %d envelopes, %v", list.Len(), err)
	}
	if data, err := list.At(0).Data(); err != nil || string(data) != "hello" {
		t.Fatalf("fetch: %q, %v", data, err)
	}
}

// simpleClient is written from docs/protocol.md: it opens a stream for each call.
type simpleClient struct {
	t         *testing.T
	cluster   *testcluster.Cluster
	transport *quic.Transport
	conns     map[int]*quic.Conn
	person    person
	token     []byte
	seen      uint64
}

func newSimpleClient(t *testing.T, c *testcluster.Cluster) *simpleClient {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	fatal(t, err)
	s := &simpleClient{t: t, cluster: c, transport: &quic.Transport{Conn: socket}, conns: map[int]*quic.Conn{}}
	t.Cleanup(func() { fatal(t, errors.Join(s.transport.Close(), socket.Close())) })
	return s
}

// conn is the connection to a node, made anew when the one before is over.
func (s *simpleClient) conn(ctx context.Context, node int) (*quic.Conn, error) {
	if qc := s.conns[node]; qc != nil && qc.Context().Err() == nil {
		return qc, nil
	}
	config, err := s.cluster.ClientTLS()
	if err != nil {
		return nil, err
	}
	address, err := net.ResolveUDPAddr("udp", s.cluster.Nodes()[node].Address())
	if err != nil {
		return nil, err
	}
	qc, err := s.transport.Dial(ctx, address, config, nil)
	s.conns[node] = qc
	return qc, err
}

// auth is the session in a call.
func (s *simpleClient) auth(a schemas.Auth, err error) error {
	a.SetVersion(1)
	return errors.Join(err, a.SetAccessToken(s.token))
}

// simpleCall makes a call and repeats it as the code table says.
func simpleCall[P ~capnp.StructKind](s *simpleClient, node int, method uint16, newParams func(*capnp.Segment) (P, error), fill func(P) error) capnp.Struct {
	s.t.Helper()
	msg, seg := schemas.NewMessage()
	request, err := schemas.NewRootRequest(seg)
	fatal(s.t, err)
	request.SetMethod(method)
	request.SetSeen(s.seen)
	id := make([]byte, 16)
	rand.Read(id)
	fatal(s.t, request.SetRequestId(id))
	params, err := newParams(seg)
	fatal(s.t, err)
	fatal(s.t, errors.Join(fill(params), request.SetParams(capnp.Struct(params).ToPtr())))
	frame, err := msg.Marshal()
	fatal(s.t, err)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		results, retry, err := s.exchange(node, frame)
		if err == nil {
			return results
		}
		if !retry || time.Now().After(deadline) {
			s.t.Fatalf("method %d on node %d: %v", method, node, err)
		}
	}
}

// exchange is one stream: a request, FIN, a response.
func (s *simpleClient) exchange(node int, frame []byte) (results capnp.Struct, retry bool, err error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	qc, err := s.conn(ctx, node)
	if err != nil {
		return results, true, err
	}
	stream, err := qc.OpenStreamSync(ctx)
	if err != nil {
		return results, true, err
	}
	defer stream.CancelRead(0)
	if _, err := stream.Write(frame); err != nil {
		return results, true, err
	}
	fatal(s.t, errors.Join(stream.Close(), stream.SetReadDeadline(time.Now().Add(15*time.Second))))
	answer, err := schemas.ReadFrame(stream, schemas.MaxResponse, nil)
	if err != nil {
		return results, true, err
	}
	msg, err := schemas.Unmarshal(answer)
	fatal(s.t, err)
	response, err := schemas.ReadRootResponse(msg)
	fatal(s.t, err)
	s.seen = max(s.seen, response.Index())
	if response.Which() == schemas.Response_Which_error {
		failure, err := response.Error()
		fatal(s.t, err)
		doc := failure.Code().Doc()
		return results, doc.Retry != schemas.Retry_never, fmt.Errorf("%s %s", failure.Code().ID(), doc.Name)
	}
	ptr, err := response.Results()
	fatal(s.t, err)
	return ptr.Struct(), false, nil
}

func (s *simpleClient) register(node int, p person) {
	s.t.Helper()
	s.person = p
	name, err := account.ParseUsername(p.name)
	fatal(s.t, err)
	run, start, err := account.StartRegistration(name, []byte("right"))
	fatal(s.t, err)
	defer run.Close()
	started := schemas.OpaqueRegisterStartResults(simpleCall(s, node, 8, schemas.NewOpaqueRegisterStartParams,
		func(q schemas.OpaqueRegisterStartParams) error {
			return errors.Join(q.SetUsername(p.name), q.SetRequest(start))
		}))
	response, err := started.Response()
	fatal(s.t, err)
	handshake, err := started.Handshake()
	fatal(s.t, err)
	upload, _, err := run.Finish(response)
	fatal(s.t, err)
	key := p.account()
	// What the account's key says of its registration: docs/protocol.md, "Statements".
	proof, err := identity.Register([32]byte(response[len(response)-32:]), key, name.String(), upload).Sign(p.key)
	fatal(s.t, err)
	finished := schemas.OpaqueRegisterFinishResults(simpleCall(s, node, 9, schemas.NewOpaqueRegisterFinishParams,
		func(q schemas.OpaqueRegisterFinishParams) error {
			return errors.Join(q.SetUsername(p.name), q.SetUpload(upload), q.SetIdentityKey(key[:]), q.SetIdentityProof(proof), q.SetHandshake(handshake))
		}))
	if !finished.Success() {
		s.t.Fatalf("%s is not registered", p.name)
	}
}

// login begins on one node and ends on the next one.
func (s *simpleClient) login(node int) {
	s.t.Helper()
	name, err := account.ParseUsername(s.person.name)
	fatal(s.t, err)
	run, ke1, err := account.StartLogin(name, []byte("right"))
	fatal(s.t, err)
	defer run.Close()
	began := schemas.OpaqueLoginStartResults(simpleCall(s, node, 10, schemas.NewOpaqueLoginStartParams,
		func(q schemas.OpaqueLoginStartParams) error {
			return errors.Join(q.SetUsername(s.person.name), q.SetRequest(ke1))
		}))
	response, err := began.Response()
	fatal(s.t, err)
	handshake, err := began.Handshake()
	fatal(s.t, err)
	finalization, _, _, err := run.Finish(response)
	fatal(s.t, err)
	key := s.person.account()
	s.token, err = schemas.OpaqueLoginFinishResults(simpleCall(s, (node+1)%3, 11, schemas.NewOpaqueLoginFinishParams,
		func(q schemas.OpaqueLoginFinishParams) error {
			return errors.Join(q.SetUsername(s.person.name), q.SetFinalization(finalization),
				q.SetHandshake(handshake), q.SetIdentityKey(key[:]))
		})).SessionToken()
	fatal(s.t, err)
}
