package account

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"time"
)

// Server is a node's side of registration and login. It is immutable and safe
// for concurrent use; after a rotation, make a new one.
type Server struct {
	setup   *Setup
	key     *serverKey
	sealer  *sealer
	context string
	fake    []byte // the fake record, encoded like a stored one
}

// NewServer returns the server of a cluster. It keeps its own copy of the setup.
func NewServer(setup *Setup) (*Server, error) {
	return newServer(setup, Context)
}

func newServer(setup *Setup, context string) (*Server, error) {
	if setup == nil {
		return nil, fmt.Errorf("%w: there is none", ErrSetup)
	}
	if err := setup.check(); err != nil {
		return nil, err
	}
	own := *setup
	return &Server{
		setup:   &own,
		key:     own.serverKey(),
		sealer:  newSealer(&own),
		context: context,
		fake:    encodeRecord(own.fake[:]),
	}, nil
}

// PublicKey is the cluster's AKE public key, 32 bytes, and the server identity
// of RFC 9807.
func (s *Server) PublicKey() [32]byte { return s.key.public }

// RegisterStart answers a registration request (32 bytes) with 64 bytes. It
// reads nothing about the name, so it tells nothing. Errors: [ErrUsername],
// [ErrMessage].
func (s *Server) RegisterStart(name Username, request []byte) ([]byte, error) {
	if err := name.require(); err != nil {
		return nil, err
	}
	if err := requireSize("registration request", request, RegistrationRequestSize); err != nil {
		return nil, err
	}
	blinded, err := decodeElement(request)
	if err != nil {
		return nil, fmt.Errorf("read blinded password: %w", err)
	}
	key := oprfKey(s.setup.oprfSeed[:], s.setup.credentialID(name))
	defer wipe(key)
	response := make([]byte, 0, RegistrationResponseSize)
	response = append(response, blinded.ScalarMult(key, blinded).Bytes()...)
	return append(response, s.key.public[:]...), nil
}

// RegisterFinish checks a registration upload (192 bytes) and returns the
// record to store, [RecordSize] bytes. Error: [ErrMessage].
func (s *Server) RegisterFinish(upload []byte) ([]byte, error) {
	if _, err := decodeRegistration(upload); err != nil {
		return nil, err
	}
	return encodeRecord(upload), nil
}

// LoginStart answers a login request (KE1, 96 bytes) with a response (KE2, 320
// bytes) and a sealed handshake ([HandshakeSize] bytes) that the client gives
// back to any node within [HandshakeLifetime]. A nil record means that the name
// has none: the answer cannot be told from another, and never finishes.
//
// Errors: [ErrUsername], [ErrMessage]; [ErrRecord] is the node's, not for the
// client.
func (s *Server) LoginStart(name Username, record, request []byte, now time.Time) (response, sealed []byte, err error) {
	if err := name.require(); err != nil {
		return nil, nil, err
	}
	ke1, err := decodeLoginRequest(request)
	if err != nil {
		return nil, nil, err
	}
	// From here on, known and unknown names do the same work.
	known := byte(1)
	if record == nil {
		known, record = 0, s.fake
	}
	registered, err := decodeRecord(record)
	if err != nil {
		return nil, nil, err
	}
	id := s.setup.credentialID(name)
	c := &credential{record: registered, oprfKey: oprfKey(s.setup.oprfSeed[:], id), identity: name.canonical}
	defer wipe(c.oprfKey)
	var random serverRandom
	random.draw()
	defer clear(random.keyshareSeed[:])
	response, clientMAC := generateKE2(s.key, s.context, ke1, c, &random)
	defer clear(clientMAC)

	h := &handshake{
		expires:      now.Add(HandshakeLifetime),
		known:        known,
		credential:   id,
		recordDigest: RecordDigest(record),
		clientMAC:    [nm]byte(clientMAC),
	}
	fill(h.id[:])
	defer clear(h.clientMAC[:])
	return response, s.sealer.seal(h), nil
}

func (r *serverRandom) draw() {
	fill(r.maskingNonce[:])
	fill(r.nonce[:])
	fill(r.keyshareSeed[:])
}

// Login is a login that a client finished, or failed to.
type Login struct {
	// ID is accepted by the log once.
	ID HandshakeID
	// Expires is when the log may forget the ID.
	Expires time.Time
	// Record is [RecordDigest] of the record that the password was proved
	// against. The log refuses the session if the account has another one by
	// now: its password was changed in between.
	Record [32]byte

	secret [nm]byte // what SessionToken derives from; zero for a failed login
}

// RecordDigest is SHA-256 of a stored record.
func RecordDigest(record []byte) [32]byte { return sha256.Sum256(record) }

// LoginFinish checks a finalization (KE3, 64 bytes) against the handshake of any
// node. A nil error means that the client knows the password of name; the log
// must still accept the Login.
//
// Errors: [ErrUsername], [ErrMessage], [ErrNoPendingLogin], and
// [ErrLoginFailed], with which the Login says which run failed.
func (s *Server) LoginFinish(name Username, finalization, sealed []byte, now time.Time) (Login, error) {
	if err := name.require(); err != nil {
		return Login{}, err
	}
	if err := requireSize("login finalization", finalization, FinalizationSize); err != nil {
		return Login{}, err
	}
	h, key, err := s.sealer.open(sealed, now)
	if err != nil {
		return Login{}, err
	}
	defer clear(h.clientMAC[:])
	id := s.setup.credentialID(name)
	if subtle.ConstantTimeCompare(id[:], h.credential[:]) != 1 {
		return Login{}, fmt.Errorf("%w: it is another name's", ErrNoPendingLogin)
	}
	login := Login{ID: h.id, Expires: h.expires, Record: h.recordDigest}
	same := subtle.ConstantTimeCompare(finalization, h.clientMAC[:])
	if same&subtle.ConstantTimeByteEq(h.known, 1) != 1 {
		return login, ErrLoginFailed
	}
	login.secret = key.loginSecret(&h.clientMAC)
	return login, nil
}

// decodeLoginRequest reads KE1. All its errors are [ErrMessage].
func decodeLoginRequest(request []byte) (*loginRequest, error) {
	if err := requireSize("login request", request, LoginRequestSize); err != nil {
		return nil, err
	}
	blinded, err := decodeElement(request[:elementSize])
	if err != nil {
		return nil, fmt.Errorf("read blinded password: %w", err)
	}
	if allZero(request[elementSize : elementSize+nonceSize]) {
		return nil, fmt.Errorf("%w: the client nonce is all zero", ErrMessage)
	}
	keyshare, err := decodeElement(request[elementSize+nonceSize:])
	if err != nil {
		return nil, fmt.Errorf("read client key share: %w", err)
	}
	return &loginRequest{encoded: request, blinded: blinded, keyshare: keyshare}, nil
}

// Format keeps the secrets out of every verb.
func (Server) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the secrets out of slog.
func (Server) LogValue() slog.Value { return slog.StringValue(redacted) }
