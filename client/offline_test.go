package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/client/vault"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	wire "quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// actor is a member of groups without a client of ours: it says and commits what a test
// wants, signed as it must be.
type actor struct {
	t        *testing.T
	name     string
	key      ed25519.PrivateKey
	account  AccountKey
	device   DeviceID
	identity *mls.Identity
	config   *mls.Config
	group    *mls.Group
}

// newActor makes somebody with an account and a device of his own.
func newActor(t *testing.T, name string) *actor {
	t.Helper()
	key, account := newKey(t)
	a := &actor{t: t, name: name, key: key, account: account, device: DeviceID(newID())}
	s, err := suite.Lookup(defaultSuite)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := s.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	a.identity = &mls.Identity{
		Signer: signer, Extensions: []tree.ExtensionType{groupstate.ExtensionType},
		Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}
	a.claims(a.account, key)
	a.config = &mls.Config{Auth: groupstate.Authenticator{}, PrivateHandshake: true}
	return a
}

// claims makes the actor's leaves say that they are of an account, signed with a key.
func (a *actor) claims(account AccountKey, key ed25519.PrivateKey) {
	a.t.Helper()
	c := groupstate.Credential{Member: groupstate.Member{Account: account, Device: a.device}}
	statement := identity.Device(c.Account, c.Device, [identity.KeySize]byte(a.identity.Signer.Public()))
	copy(c.Signature[:], signedBy(a.t, statement, key))
	a.identity.Credential = c.MLS()
}

// dmData are the data and the id of a conversation of two.
func dmData() (*groupstate.Data, []byte) {
	id := newID()
	return &groupstate.Data{Kind: groupstate.KindDM}, id[:]
}

// groupData are those of a group with these admins.
func groupData(title string, admins ...*actor) (*groupstate.Data, []byte) {
	data := &groupstate.Data{Kind: groupstate.KindGroup, Title: title}
	for _, a := range admins {
		data.SetAdmin(a.account, true)
	}
	id := newID()
	return data, id[:]
}

// founds makes a group with the actor in it.
func (a *actor) founds(data *groupstate.Data, id []byte) {
	a.t.Helper()
	var err error
	if a.group, err = mls.Create(a.config, a.identity, id, data.Extensions(nil), time.Now()); err != nil {
		a.t.Fatalf("%s founds a group: %v", a.name, err)
	}
}

// commits makes a commit and adopts it. It returns the payloads for the members and for
// those who come in.
func (a *actor) commits(opt mls.CommitOptions) (commit, welcome []byte) {
	a.t.Helper()
	made, err := a.group.Commit(opt, time.Now())
	if err != nil {
		a.t.Fatalf("%s commits: %v", a.name, err)
	}
	a.group = made.Next
	if made.Welcome != nil {
		welcome = groupstate.Wrap(made.Welcome)
	}
	return groupstate.Wrap(made.Commit), welcome
}

// adds takes others in.
func (a *actor) adds(packages ...*wire.KeyPackage) (commit, welcome []byte) {
	a.t.Helper()
	return a.commits(mls.CommitOptions{Add: packages})
}

// joins brings another actor into the group.
func (a *actor) joins(by *actor) (commit []byte) {
	a.t.Helper()
	kp, err := a.identity.NewKeyPackage(time.Now(), mls.KeyPackageOptions{})
	if err != nil {
		a.t.Fatal(err)
	}
	commit, welcome := by.adds(kp.Public)
	if a.group, err = mls.Join(a.config, []*mls.KeyPackage{kp}, welcome[1:], mls.JoinOptions{}, time.Now()); err != nil {
		a.t.Fatalf("%s joins: %v", a.name, err)
	}
	return commit
}

// hears processes what another member has sent.
func (a *actor) hears(payloads ...[]byte) {
	a.t.Helper()
	for _, payload := range payloads {
		next, _, err := a.group.Process(payload[1:], time.Now())
		if err != nil {
			a.t.Fatalf("%s hears: %v", a.name, err)
		}
		a.group = next
	}
}

// says encrypts something for the group.
func (a *actor) says(m content.Message) []byte {
	a.t.Helper()
	if m.ID == (content.ID{}) {
		m.ID = newID()
	}
	if m.Sent.IsZero() {
		m.Sent = time.Now()
	}
	raw, err := content.Encode(m)
	if err != nil {
		a.t.Fatal(err)
	}
	next, message, err := a.group.Encrypt(raw, nil)
	if err != nil {
		a.t.Fatalf("%s says something: %v", a.name, err)
	}
	a.group = next
	return groupstate.Wrap(message)
}

// proposed keeps the result of one of the group's Propose functions.
func (a *actor) proposed(next *mls.Group, message []byte, err error) []byte {
	a.t.Helper()
	if err != nil {
		a.t.Fatalf("%s proposes: %v", a.name, err)
	}
	a.group = next
	return groupstate.Wrap(message)
}

// leaf is where an account sits in the actor's group.
func (a *actor) leaf(of AccountKey) tree.LeafIndex {
	a.t.Helper()
	for _, m := range a.group.Members() {
		if c, err := groupstate.ParseCredential(m.Leaf.Credential); err == nil && AccountKey(c.Account) == of {
			return m.Index
		}
	}
	a.t.Fatalf("%s finds no leaf of %x", a.name, of[:4])
	return 0
}

// offline is a client without a cluster: a test puts into its queues what it likes.
type offline struct {
	*Client
	t    *testing.T
	seqs map[conn.ChannelID]uint64
	at   time.Time
}

// newOffline makes a client of somebody with an account.
func newOffline(t *testing.T, name string, settings Settings) *offline {
	t.Helper()
	o := &offline{t: t, seqs: map[conn.ChannelID]uint64{}, at: time.Now()}
	c, err := Create(Profile{
		Dir: filepath.Join(t.TempDir(), name), Key: vault.Raw(make([]byte, 32)), Settings: settings,
		Now: func() time.Time { return o.at },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close %s's client: %v", name, err)
		}
	})
	o.Client = c
	if err := c.newProfile(name); err != nil {
		t.Fatal(err)
	}
	return o
}

// keyPackage makes a key package of which the client has the private keys.
func (o *offline) keyPackage(lastResort bool) (*wire.KeyPackage, []byte) {
	o.t.Helper()
	row, message, err := o.newKeyPackage(o.at, lastResort)
	if err == nil {
		err = o.vault.Update(func(tx *vault.Tx) error { return tx.AddKeyPackage(row) })
	}
	if err != nil {
		o.t.Fatal(err)
	}
	m, err := wire.Parse(message)
	if err != nil {
		o.t.Fatal(err)
	}
	return m.KeyPackage, row.Ref
}

// joined returns an actor that has founded a group called friends, or a conversation of
// two, and a client that it has invited there; called is what the client calls it.
func joined(t *testing.T, founder string, dm bool) (by *actor, bob *offline, called string) {
	t.Helper()
	by, bob = newActor(t, founder), newOffline(t, "bob", Settings{Invitations: FromEverybody})
	bob.knows(by)
	called = "friends"
	data, id := groupData(called, by)
	if dm {
		data, id = dmData()
		called = founder
	}
	by.founds(data, id)
	bob.invited(by)
	return by, bob, called
}

// knows makes actors contacts whose invitations the user wants.
func (o *offline) knows(actors ...*actor) {
	o.t.Helper()
	for _, a := range actors {
		err := o.turn(func(t *turn) error {
			if err := t.meet(a.account, a.name); err != nil {
				return err
			}
			return t.befriend(a.account)
		})
		if err != nil {
			o.t.Fatal(err)
		}
	}
}

// gets puts payloads into the inbox.
func (o *offline) gets(payloads ...[]byte) {
	o.t.Helper()
	o.getsIn(conn.ChannelID{}, payloads...)
}

// getsIn puts payloads into a channel's queue.
func (o *offline) getsIn(channel conn.ChannelID, payloads ...[]byte) {
	o.t.Helper()
	var batch []conn.Envelope
	for _, payload := range payloads {
		o.seqs[channel]++
		batch = append(batch, conn.Envelope{Channel: channel, Seq: o.seqs[channel], Data: payload})
	}
	if err := o.Take(o.t.Context(), batch); err != nil {
		o.t.Fatalf("take envelopes: %v", err)
	}
}

// invited brings the client into an actor's group.
func (o *offline) invited(by *actor) {
	o.t.Helper()
	kp, _ := o.keyPackage(false)
	_, welcome := by.adds(kp)
	o.gets(welcome)
}

// find returns the conversation with a person, or the group that anybody calls so.
func (o *offline) find(name string) *Conversation {
	o.t.Helper()
	v, err := o.Find(name)
	if err != nil {
		v, err = o.Find("#" + name)
	}
	if err != nil {
		o.t.Fatalf("find %s: %v", name, err)
	}
	return v
}

// history is what the conversation of a name holds, notices among it.
func (o *offline) history(name string) []Entry {
	o.t.Helper()
	list, err := o.find(name).History(0, 1000)
	if err != nil {
		o.t.Fatal(err)
	}
	return list
}

// said is what people said in the conversation of a name.
func (o *offline) said(name string) (list []string) {
	o.t.Helper()
	for _, e := range o.history(name) {
		if e.Kind != "notice" {
			list = append(list, e.Sender+": "+e.Text)
		}
	}
	return list
}

// reads demands what people said, in order.
func (o *offline) reads(name string, want ...string) {
	o.t.Helper()
	if got := o.said(name); !slices.Equal(got, want) {
		o.t.Errorf("in the conversation %s stands %q, want %q", name, got, want)
	}
}

// waits is how many messages and changes wait for the cluster.
func (o *offline) waits() (outbox, intents int) {
	o.t.Helper()
	s, err := o.Status(o.t.Context())
	if !errors.Is(err, ErrNoServer) {
		o.t.Fatal(err)
	}
	return s.Outbox, s.Intents
}

func newKey(tb testing.TB) (ed25519.PrivateKey, [32]byte) {
	tb.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key, [32]byte(public)
}

func signedBy(tb testing.TB, s identity.Statement, key ed25519.PrivateKey) []byte {
	tb.Helper()
	signature, err := s.Sign(key)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}
