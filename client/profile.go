package client

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"quicproquo/client/conn"
	"quicproquo/client/groupstate"
	"quicproquo/client/internal/pace"
	"quicproquo/client/vault"
	"quicproquo/crypto/account"
	"quicproquo/crypto/identity"
	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// Profile says where a client keeps what it knows, and how it reaches the
// cluster.
type Profile struct {
	// Dir is the vault's directory.
	Dir string
	// Key opens the vault.
	Key vault.Key
	// Options say which cluster, and how. Without Endpoints the client works with
	// what is in its vault; with them PacketConn is needed, a UDP socket such as
	// net.ListenPacket("udp", ":0") returns, which the client closes, and TLS. Seen is
	// taken from the vault.
	Options  Options
	Settings Settings
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Settings are a client's habits. The zero value stands for the defaults.
type Settings struct {
	// Padding is what application messages are padded to a multiple of, in bytes;
	// 0: 256, negative: none.
	Padding int
	// PastEpochs is how many epochs late messages may come; 0: 5.
	PastEpochs int
	// RekeyAge and RekeyMessages are when this device renews its keys in a group;
	// 0: 7 days and 10,000 messages.
	RekeyAge      time.Duration
	RekeyMessages uint64
	// KeyPackages is how many key packages the cluster should have; 0: 50.
	KeyPackages int
	// LastResortAge is when the last-resort key package is replaced; 0: 7 days.
	LastResortAge time.Duration
	// HoldTime is how long a message that came too early is kept; 0: 7 days.
	HoldTime time.Duration
	// Invitations says whose invitations are accepted without asking the user.
	Invitations Invitations
	// NoReceipts: the others are not told what was delivered and read.
	NoReceipts bool
	// Upkeep is the pause between two looks at what is due; 0: a minute.
	Upkeep time.Duration
}

func (s Settings) withDefaults() Settings {
	fill := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	fill(&s.RekeyAge, 7*24*time.Hour)
	fill(&s.LastResortAge, 7*24*time.Hour)
	fill(&s.HoldTime, HoldTime)
	fill(&s.Upkeep, time.Minute)
	if s.Padding == 0 {
		s.Padding = 256
	}
	if s.PastEpochs == 0 {
		s.PastEpochs = 5
	}
	if s.RekeyMessages == 0 {
		s.RekeyMessages = 10_000
	}
	if s.KeyPackages == 0 {
		s.KeyPackages = 50
	}
	return s
}

// defaultSuite is what new groups and key packages use.
const defaultSuite = suite.Default

// Create makes an empty vault and a client of it. It sends nothing.
func Create(p Profile) (*Client, error) {
	v, err := vault.Create(p.Dir, p.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create vault: %w", err), p.abandon())
	}
	return open(p, v)
}

// Open unlocks a vault and returns its client. It sends nothing yet.
func Open(p Profile) (*Client, error) {
	v, err := vault.Open(p.Dir, p.Key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open vault: %w", err), p.abandon())
	}
	return open(p, v)
}

// abandon closes the socket that the client would have owned.
func (p *Profile) abandon() error {
	if p.Options.PacketConn == nil {
		return nil
	}
	return p.Options.PacketConn.Close()
}

func open(p Profile, v *vault.Vault) (*Client, error) {
	c := &Client{
		settings: p.Settings.withDefaults(), vault: v, now: p.Now, log: p.Options.Logger,
		talks: map[vault.ConversationID]*talk{}, waiters: map[int64]*waiter{}, unsent: map[int64]error{}, screens: map[*screen]struct{}{},
		bell: make(chan struct{}), acked: map[conn.ChannelID]uint64{}, sending: map[vault.ConversationID]bool{},
		pursuing: map[vault.ConversationID]bool{}, naming: make(chan struct{}, 1),
		rate: pace.New(sendBurst, sendEvery, spareTokens),
	}
	c.copies = &instance{c: c}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	err := c.load(p.Options)
	if err == nil && c.who != nil {
		err = c.turn((*turn).restored)
	}
	if err == nil {
		_, err = c.dropExpired()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open profile: %w", err), c.Close())
	}
	return c, nil
}

// load reads who the client is, and makes its connection.
func (c *Client) load(options Options) error {
	var session *vault.Session
	err := c.vault.View(func(tx *vault.Tx) (err error) {
		if c.who, err = tx.Profile(); err != nil {
			return err
		}
		if options.Known, err = tx.Nodes(); err != nil {
			return err
		}
		session, err = tx.Session()
		return err
	})
	if err == nil {
		err = c.takeIdentity()
	}
	if err != nil || len(options.Endpoints) == 0 {
		return errors.Join(err, (&Profile{Options: options}).abandon())
	}
	if c.who != nil {
		options.Seen = c.who.Seen
	}
	if options.Learned == nil && !options.Fixed {
		options.Learned = c.keepNodes
	}
	if c.conn, err = conn.Dial(options); err != nil {
		return err
	}
	if session != nil {
		c.conn.SetSession(c.session(session))
	}
	return nil
}

// keepNodes remembers the cluster's nodes, so that the next start needs none of those
// that the program was given.
func (c *Client) keepNodes(addresses []string) {
	if err := c.vault.Update(func(tx *vault.Tx) error { return tx.SetNodes(addresses) }); err != nil {
		c.log.Debug("nodes not remembered", "error", err)
	}
}

// session returns a saved session as a Conn takes it.
func (c *Client) session(s *vault.Session) *conn.Session {
	var token account.Token
	copy(token[:], s.Token)
	return &conn.Session{
		Token: token, Account: c.account(), Device: DeviceID(c.who.Device),
		Key: ed25519.NewKeyFromSeed(c.who.DeviceKey), Copies: c.copies, Expires: s.Expires,
	}
}

// account is the key of the profile's account; there must be one.
func (c *Client) account() AccountKey { return c.self.Account }

// takeIdentity derives from the profile what groups know us by.
func (c *Client) takeIdentity() error {
	if c.who == nil {
		return nil
	}
	s, err := suite.Lookup(defaultSuite)
	if err != nil {
		return err
	}
	signer, err := s.NewSigner(append(suite.Secret(nil), c.who.DeviceKey...))
	if err != nil {
		return fmt.Errorf("load device key: %w", err)
	}
	accountKey := ed25519.NewKeyFromSeed(c.who.AccountKey)
	credential := groupstate.Credential{Member: groupstate.Member{
		Account: [identity.KeySize]byte(accountKey.Public().(ed25519.PublicKey)), Device: c.who.Device,
	}}
	signature, err := identity.Device(credential.Account, credential.Device, [identity.KeySize]byte(signer.Public())).Sign(accountKey)
	if err != nil {
		return fmt.Errorf("sign device key: %w", err)
	}
	copy(credential.Signature[:], signature)
	c.self = credential.Member
	c.identity = &mls.Identity{
		Signer: signer, Credential: credential.MLS(),
		Extensions: []tree.ExtensionType{groupstate.ExtensionType},
		Proposals:  []tree.ProposalType{tree.ProposalSelfRemove},
	}
	return nil
}

// Limits of the ratchets: a server that shuffles a queue must not cost messages.
// Each key that waits for its message takes 50 bytes.
const (
	maxOutOfOrder = 1000
	maxForward    = 20_000
)

// config is the client's policy in MLS.
func (c *Client) config() *mls.Config {
	cfg := &mls.Config{
		Auth: groupstate.Authenticator{}, PrivateHandshake: true, PastEpochs: c.settings.PastEpochs,
		Limits: schedule.Limits{OutOfOrder: maxOutOfOrder, Forward: maxForward},
	}
	if c.settings.Padding > 0 {
		cfg.Padding = mls.PadTo(c.settings.Padding)
	}
	return cfg
}

// Account is who a client is.
type Account struct {
	Username string
	Key      AccountKey
	Device   DeviceID
	// Registered is set once the cluster has the account, LoggedIn while there is a
	// session.
	Registered, LoggedIn bool
}

// Account returns who the client is; the zero value before Register.
func (c *Client) Account() Account {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.who == nil {
		return Account{}
	}
	return Account{
		Username: c.who.Username, Key: c.account(), Device: DeviceID(c.who.Device),
		Registered: c.who.Registered, LoggedIn: c.conn != nil && c.conn.Session() != nil,
	}
}
