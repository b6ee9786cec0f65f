package liar

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/groupstate"
	"quicproquo/crypto/codec"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
	"quicproquo/schemas"
)

// Outsider has an account and a device like anybody, and uses their keys as no client
// of ours would: whom a node that lies works with. It belongs to one goroutine.
type Outsider struct {
	Name     string
	Key      conn.AccountKey
	front    *Front
	account  ed25519.PrivateKey
	identity *mls.Identity
	conn     *conn.Conn
	groups   []*mls.Group
}

// Enter registers an outsider through the front.
func (f *Front) Enter(ctx context.Context, options conn.Options, name string) (o *Outsider, err error) {
	o = &Outsider{Name: name, front: f}
	_, o.account, err = ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	o.Key = conn.AccountKey(o.account.Public().(ed25519.PublicKey))
	if o.conn, err = conn.Dial(options); err != nil {
		return nil, err
	}
	if err := o.register(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("register %s: %w", name, err), o.Close())
	}
	return o, nil
}

// register makes the account, its device, and the device's key package.
func (o *Outsider) register(ctx context.Context) error {
	_, device, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	var id conn.DeviceID
	_, _ = rand.Read(id[:])
	if o.identity, err = Identity(o.account, id, device.Seed()); err != nil {
		return err
	}
	password := func() []byte { return []byte("password of " + o.Name) }
	if _, err := o.conn.Register(ctx, o.Name, password(), o.account); err != nil {
		return err
	}
	who := conn.Credentials{Username: o.Name, Password: password(), Account: o.Key, Key: o.account}
	if _, _, err := o.conn.Login(ctx, who); err != nil {
		return err
	}
	public := []byte(device.Public().(ed25519.PublicKey))
	if _, err := o.conn.RegisterDevice(ctx, conn.Device{ID: id, Name: "laptop", Key: public}, o.account); err != nil {
		return err
	}
	who.Password, who.Device, who.Key = password(), id, device
	if _, _, err := o.conn.Login(ctx, who); err != nil {
		return err
	}
	now := time.Now()
	kp, err := o.identity.NewKeyPackage(now, mls.KeyPackageOptions{LastResort: true, Lifetime: tree.Lifetime{
		NotBefore: uint64(now.Add(-time.Hour).Unix()), NotAfter: uint64(now.Add(80 * 24 * time.Hour).Unix()),
	}})
	if err != nil {
		return err
	}
	_, _, err = o.conn.UploadKeyPackages(ctx, nil, kp.Message())
	return err
}

// Close ends the outsider's connection.
func (o *Outsider) Close() error { return o.conn.Close() }

// Seed is the private key of the outsider's account.
func (o *Outsider) Seed() []byte { return o.account.Seed() }

// Identity is what groups know a device of an account by, from the account's key and
// the seed of the device's.
func Identity(account ed25519.PrivateKey, device conn.DeviceID, seed []byte) (*mls.Identity, error) {
	s, err := suite.Lookup(suite.Default)
	if err != nil {
		return nil, err
	}
	signer, err := s.NewSigner(append(suite.Secret(nil), seed...))
	if err != nil {
		return nil, err
	}
	c := groupstate.Credential{Member: groupstate.Member{
		Account: [identity.KeySize]byte(account.Public().(ed25519.PublicKey)), Device: device,
	}}
	signature, err := identity.Device(c.Account, c.Device, [identity.KeySize]byte(signer.Public())).Sign(account)
	if err != nil {
		return nil, err
	}
	copy(c.Signature[:], signature)
	return &mls.Identity{
		Signer: signer, Credential: c.MLS(),
		Extensions: []tree.ExtensionType{groupstate.ExtensionType}, Proposals: []tree.ProposalType{tree.ProposalSelfRemove},
	}, nil
}

// Pretend makes a key package of a device of somebody else's account, which that account
// has not signed: the outsider's has.
func (o *Outsider) Pretend(of conn.AccountKey) ([]byte, error) {
	_, device, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	var id conn.DeviceID
	_, _ = rand.Read(id[:])
	who, err := Identity(o.account, id, device.Seed())
	if err != nil {
		return nil, err
	}
	c, err := groupstate.ParseCredential(who.Credential)
	if err != nil {
		return nil, err
	}
	c.Account = of
	who.Credential = c.MLS()
	now := time.Now()
	kp, err := who.NewKeyPackage(now, mls.KeyPackageOptions{Lifetime: tree.Lifetime{
		NotBefore: uint64(now.Add(-time.Hour).Unix()), NotAfter: uint64(now.Add(80 * 24 * time.Hour).Unix()),
	}})
	if err != nil {
		return nil, err
	}
	return kp.Message(), nil
}

func policy() *mls.Config {
	return &mls.Config{Auth: groupstate.Authenticator{}, PrivateHandshake: true, PastEpochs: 5}
}

// Trap is a group of an outsider's own that has the id of another.
type Trap struct {
	Return  []byte // the way back into it, sealed to the leaves that it has
	Welcome []byte // to those who are in it, as a payload
}

// TrapOptions say what a trap is like.
type TrapOptions struct {
	Group  string           // whose id it has: by its name in the book
	Data   *groupstate.Data // what it says that it is
	Epochs int              // how many it has behind it
	With   []string         // who is in it, beside the outsider
	// Fresh puts people in by key packages that are claimed now, so that the welcome
	// is good. Else it is by those that the node has given to others, so that the
	// leaves are those of the true group: then the way back is.
	Fresh bool
}

// Trap founds one.
func (o *Outsider) Trap(ctx context.Context, opt TrapOptions) (t Trap, err error) {
	g, known := o.front.book.Group(opt.Group)
	if !known {
		return t, fmt.Errorf("there is no group %s", opt.Group)
	}
	mine, err := mls.Create(policy(), o.identity, g.ID, opt.Data.Extensions(nil), time.Now())
	if err != nil {
		return t, err
	}
	for range opt.Epochs {
		made, err := mine.Commit(mls.CommitOptions{}, time.Now())
		if err != nil {
			return t, err
		}
		mine = made.Next
	}
	var add []*message.KeyPackage
	for _, name := range opt.With {
		kp, err := o.packageOf(ctx, name, opt.Fresh)
		if err != nil {
			return t, err
		}
		add = append(add, kp)
	}
	made, err := mine.Commit(mls.CommitOptions{Add: add}, time.Now())
	if err != nil {
		return t, err
	}
	o.groups = append(o.groups, made.Next)
	t.Welcome = groupstate.Wrap(made.Welcome)
	var past *groupstate.Known // the outsider knows nothing of the true group's
	t.Return, err = groupstate.SealReturn(made.Next, past.Next(nil, made.Next), nil, schemas.MaxGroupInfo)
	return t, err
}

func (o *Outsider) packageOf(ctx context.Context, name string, fresh bool) (*message.KeyPackage, error) {
	b := o.front.book.Package(name)
	if fresh || b == nil {
		list, err := o.Claim(ctx, name)
		if err != nil {
			return nil, err
		}
		b = list
	}
	m, err := message.Parse(b)
	if err != nil {
		return nil, err
	}
	if m.KeyPackage == nil {
		return nil, errors.New("it is no key package")
	}
	return m.KeyPackage, nil
}

// Claim takes a key package of somebody, as anybody can.
func (o *Outsider) Claim(ctx context.Context, name string) ([]byte, error) {
	key, known := o.front.book.Account(name)
	if !known {
		return nil, fmt.Errorf("nobody is called %s", name)
	}
	list, err := o.conn.FetchKeyPackages(ctx, key, conn.DeviceID{}, nil)
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		if one.Err == nil {
			return one.Package, nil
		}
	}
	return nil, fmt.Errorf("%s has no key packages", name)
}

// Ahead is the payload of a private message of an epoch that a group has not come to,
// which nobody can open: anybody can write one.
func (f *Front) Ahead(group string, epoch uint64, sort message.ContentType) ([]byte, error) {
	g, known := f.book.Group(group)
	if !known {
		return nil, fmt.Errorf("there is no group %s", group)
	}
	junk := make([]byte, 200)
	_, _ = rand.Read(junk)
	return groupstate.Wrap(codec.Marshal(&message.Message{Private: &message.PrivateMessage{
		GroupID: g.ID, Epoch: epoch, Type: sort, EncryptedSenderData: junk[:28], Ciphertext: junk[28:],
	}})), nil
}

// Overheard are the texts that the outsider can read, of all that was sent through the
// front so far, with the keys of its traps: none, it is to be hoped.
func (o *Outsider) Overheard() (texts []string) {
	payloads := o.front.book.Payloads()
	for _, g := range o.groups {
		for _, p := range payloads {
			next, ev, err := process(g, p.Payload)
			if err != nil {
				continue
			}
			g = next
			m, is := ev.(*mls.ApplicationMessage)
			if !is {
				continue
			}
			text := "something"
			if c, err := content.Decode(m.Data); err == nil {
				if body, is := c.Body.(content.Text); is {
					text = body.Text
				}
			}
			texts = append(texts, text)
		}
	}
	return texts
}

func process(g *mls.Group, payload []byte) (*mls.Group, mls.Event, error) {
	p, err := groupstate.Unwrap(payload)
	if err != nil || p.Sort == groupstate.SortWelcome {
		return nil, nil, errors.New("it is not for a group")
	}
	return g.Process(p.Message, time.Now())
}
