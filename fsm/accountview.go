package fsm

import "fmt"

// Account is an account as readers see it. Its slices belong to the caller.
type Account struct {
	Key       AccountKey
	Username  string // canonical
	CreatedMs uint64 // log time
	Record    []byte // OPAQUE, as crypto/account encodes it
	Devices   []Device
}

// Device is a device of an account.
type Device struct {
	ID           DeviceID
	Name         string
	RegisteredMs uint64 // log time
	Key          []byte // 32 bytes, or nil: the account's identity key serves
	Signature    []byte // by the account's key, over the device
}

// Device returns a device of the account, nil for none.
func (a *Account) Device(id DeviceID) *Device {
	for i := range a.Devices {
		if a.Devices[i].ID == id {
			return &a.Devices[i]
		}
	}
	return nil
}

// PrincipalKey is the Ed25519 key that speaks for a device of the account, or for
// the account itself when the device is zero or has no key of its own.
func (a *Account) PrincipalKey(id DeviceID) []byte {
	if d := a.Device(id); d != nil && len(d.Key) != 0 {
		return d.Key
	}
	return a.Key[:]
}

// Account returns a live account; false: there is none with this key.
func (v *View) Account(key AccountKey) (Account, bool, error) {
	v.err = nil
	row := v.account(key)
	if v.err != nil || !row.live() {
		return Account{}, false, v.readError("account")
	}
	a := Account{Key: key, Username: row.username, CreatedMs: row.created, Record: row.record}
	for _, d := range row.devices {
		a.Devices = append(a.Devices, Device{
			ID: d.id, Name: d.name, RegisteredMs: d.registered, Key: d.key, Signature: d.signature,
		})
	}
	return a, true, nil
}

// AccountByName returns who has a canonical username; false: nobody.
func (v *View) AccountByName(name string) (AccountKey, bool, error) {
	v.err = nil
	u := username(v, name)
	return u.owner, u.owner != (AccountKey{}), v.readError("username")
}

// Session is a session as readers see it. Times are log time.
type Session struct {
	Account   AccountKey
	Device    DeviceID // zero: of the account itself
	CreatedMs uint64
	RenewedMs uint64
	ExpiresMs uint64
}

// Session returns the session whose token has this SHA-256. One that is over may
// still be there: the caller looks at ExpiresMs.
func (v *View) Session(tokenHash [32]byte) (Session, bool, error) {
	v.err = nil
	s, ok := session(v, tokenHash[:])
	return Session{s.account, s.device, s.created, s.renewed, s.expires}, ok && v.err == nil, v.readError("session")
}

// Endpoint is where a device says that it may be reached.
type Endpoint struct {
	Device    DeviceID
	ExpiresMs uint64 // log time
	Endpoint  []byte
}

// Endpoints returns those of an account's devices, by device id.
func (v *View) Endpoints(key AccountKey) ([]Endpoint, error) {
	v.err = nil
	var list []Endpoint
	prefix := rowKey(tableEndpoints, key[:])
	v.each(tableEndpoints, prefix, func(key, value []byte) bool {
		var e endpointRow
		v.fail(e.decode(value))
		one := Endpoint{ExpiresMs: e.expires, Endpoint: e.endpoint}
		copy(one.Device[:], key[len(prefix):])
		list = append(list, one)
		return true
	})
	return list, v.readError("endpoints")
}

// Secret returns the wrapped bytes of a secret of the cluster; version 0: there
// is none yet.
func (v *View) Secret(name string) (version uint64, wrapped []byte, err error) {
	v.err = nil
	s := secret(v, name)
	return s.version, s.wrapped, v.readError("secret")
}

// readError wraps the first failed read since err was cleared.
func (v *View) readError(what string) error {
	if v.err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", what, v.err)
}
