package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"quicproquo/cluster"
	"quicproquo/crypto/account"
	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// secretOPAQUE is the name of the secret that holds the cluster's account.Setup,
// wrapped by the cluster key.
const secretOPAQUE = "opaque"

// opaque opens the cluster's OPAQUE setup once for each version of it, and looks
// every trust whether the store has another: for so long a node may go on with a
// setup that was rotated, which all nodes still open. mu guards what follows it;
// the rest is set once, and keys are never logged.
type opaque struct {
	keys  func() []tlsid.ClusterKey // several while one takes another's place
	trust time.Duration

	mu      sync.Mutex
	checked time.Time
	// wrapped is what server was made of. It is compared whole, not by its
	// version: a cluster that was restored may hold another setup of the same one.
	wrapped []byte
	server  *account.Server
}

// trusted returns the server if it was compared with the store lately, or nil.
func (o *opaque) trusted() *account.Server {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.server == nil || time.Since(o.checked) >= o.trust {
		return nil
	}
	return o.server
}

// serve returns the server of a wrapped setup.
func (o *opaque) serve(version uint64, wrapped []byte) (*account.Server, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.server != nil && bytes.Equal(o.wrapped, wrapped) {
		o.checked = time.Now()
		return o.server, nil
	}
	setup, err := unwrap(o.keys(), wrapped)
	if err != nil {
		return nil, err
	}
	defer setup.Destroy() // the server has its own copy
	if uint64(setup.Version()) != version {
		return nil, fmt.Errorf("%w: version %d is kept as version %d", account.ErrSetup, setup.Version(), version)
	}
	server, err := account.NewServer(setup)
	if err != nil {
		return nil, err
	}
	o.wrapped, o.server, o.checked = wrapped, server, time.Now()
	return server, nil
}

// opaqueServer returns the server of the cluster's setup. The first call of a new
// cluster makes the setup.
func (c *call) opaqueServer() (*account.Server, error) {
	if server := c.conn.server.opaque.trusted(); server != nil {
		return server, nil
	}
	return c.storedOPAQUE()
}

// storedOPAQUE is opaqueServer for the setup that the call's state holds.
func (c *call) storedOPAQUE() (*account.Server, error) {
	if len(c.conn.server.opaque.keys()) == 0 {
		return nil, errors.New("this node was started without the cluster key")
	}
	version, wrapped, err := c.opaqueSecret()
	if err == nil && version == 0 {
		version, wrapped, err = c.provisionOPAQUE()
	}
	if err != nil {
		return nil, err
	}
	server, err := c.conn.server.opaque.serve(version, wrapped)
	if err != nil {
		// Not the client's affair: another node may have the right key.
		c.conn.log.Error("open the cluster's opaque secrets", slog.Uint64("version", version), slog.Any("error", err))
		return nil, storageFault(err)
	}
	return server, nil
}

func (c *call) opaqueSecret() (version uint64, wrapped []byte, err error) {
	view, err := c.state()
	if err != nil {
		return 0, nil, err
	}
	version, wrapped, err = view.Secret(secretOPAQUE)
	if err != nil {
		return 0, nil, storageFault(err)
	}
	return version, wrapped, nil
}

// provisionOPAQUE makes a setup and proposes it as the first version. Of several
// nodes that do so at once one wins, and all read its setup back.
func (c *call) provisionOPAQUE() (version uint64, wrapped []byte, err error) {
	setup := account.NewSetup()
	defer setup.Destroy()
	own := setup.Wrap(c.conn.server.opaque.keys()[0])
	_, err = c.proposeOwn(func(to schemas.Entry_command) error {
		p, err := to.NewPutSecret()
		if err != nil {
			return err
		}
		p.SetVersion(uint64(setup.Version()))
		return errors.Join(p.SetName(secretOPAQUE), p.SetWrapped(own))
	})
	if err != nil && !refusedWith(err, schemas.Code_secretVersion) {
		return 0, nil, err
	}
	// The outcome may have been another node's to tell.
	if err := c.conn.server.node.WaitSeen(c.context(), c.index); err != nil {
		return 0, nil, err
	}
	c.dropState()
	version, wrapped, err = c.opaqueSecret()
	if err == nil && version == 0 {
		err = errors.New("the log has an opaque setup and the store has none")
	}
	return version, wrapped, err
}

// unwrap opens a wrapped setup with the first key that does.
func unwrap(keys []tlsid.ClusterKey, wrapped []byte) (setup *account.Setup, err error) {
	for _, key := range keys {
		if setup, err = account.Unwrap(key, wrapped); err == nil {
			break
		}
	}
	return setup, err
}

// Secrets are what the replicated state holds sealed under the cluster key.
func Secrets() []cluster.Secret { return []cluster.Secret{{Name: secretOPAQUE, Reseal: resealOPAQUE}} }

// resealOPAQUE moves the setup to another cluster key, as its next version: the handshake
// key changes with it, the rest never does (decision 0051). A cluster that has none gets one,
// so that no node makes it under the key that goes. Nil: it is sealed under that key.
func resealOPAQUE(keys []tlsid.ClusterKey, to tlsid.ClusterKey, wrapped []byte) ([]byte, error) {
	if wrapped == nil {
		setup := account.NewSetup()
		defer setup.Destroy()
		return setup.Wrap(to), nil
	}
	if setup, err := account.Unwrap(to, wrapped); err == nil {
		setup.Destroy()
		return nil, nil
	}
	setup, err := unwrap(keys, wrapped)
	if err != nil {
		return nil, err
	}
	defer setup.Destroy()
	next := setup.Rotate()
	defer next.Destroy()
	return next.Wrap(to), nil
}

func refusedWith(err error, code schemas.Code) bool {
	r, is := errors.AsType[*refusal](err)
	return is && r.code == code
}

// opaqueRefusal gives an error of package account its code. step is the code of
// the step that the call is.
func opaqueRefusal(err error, step schemas.Code) error {
	switch {
	case errors.Is(err, account.ErrLoginFailed):
		return refuse(schemas.Code_opaqueFinishFailed)
	case errors.Is(err, account.ErrNoPendingLogin):
		return refuse(schemas.Code_noPendingLogin)
	case errors.Is(err, account.ErrMessage):
		return &refusal{code: step, cause: err}
	case errors.Is(err, account.ErrRecord):
		return storageFault(err)
	}
	return err
}

// username reads a name as a client sent it.
func username(typed string, err error) (account.Username, error) {
	if err != nil {
		return account.Username{}, malformed(err)
	}
	name, err := account.ParseUsername(typed)
	if err != nil {
		return name, &refusal{
			code: schemas.Code_usernameInvalid, value: account.MaxUsername,
			detail: "The " + err.Error() + ".", cause: err,
		}
	}
	return name, nil
}

// accountKey reads an identity key that a call must have.
func accountKey(key []byte, err error) (fsm.AccountKey, error) {
	switch {
	case err != nil:
		return fsm.AccountKey{}, malformed(err)
	case len(key) == 0:
		return fsm.AccountKey{}, refuse(schemas.Code_identityRequired)
	case len(key) != schemas.AccountKeySize:
		return fsm.AccountKey{}, &refusal{code: schemas.Code_keyLength, value: uint64(len(key))}
	}
	return fsm.AccountKey(key), nil
}
