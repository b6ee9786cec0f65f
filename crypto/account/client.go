package account

import (
	"fmt"
	"log/slog"
	"unicode/utf8"

	"github.com/bytemare/opaque"
	"golang.org/x/text/unicode/norm"
)

// The client's side is the library's, with every option set and its panics
// turned into errors.

// Registration is a client between the two steps of a registration or a change
// of password. It holds the password until [Registration.Finish] or
// [Registration.Close]. Not safe for concurrent use.
type Registration struct{ run run }

// Attempt is a client between the two steps of a login. It holds the password
// until [Attempt.Finish] or [Attempt.Close]. Not safe for concurrent use.
type Attempt struct{ run run }

// run is what both have in common. client is nil once the run is over.
type run struct {
	name   Username
	client *opaque.Client
}

// StartRegistration returns the request (32 bytes) for the server's
// RegisterStart. It takes the password over and overwrites it, also when it
// fails. A password that is UTF-8 is normalized to NFC, so that the same one
// typed on another system is the same. Errors: [ErrUsername], [ErrPassword].
func StartRegistration(name Username, password []byte) (*Registration, []byte, error) {
	return startRegistration(name, password, Context)
}

func startRegistration(name Username, password []byte, context string) (*Registration, []byte, error) {
	r := &Registration{}
	request, err := r.run.start(name, password, context, func(c *opaque.Client, password []byte) ([]byte, error) {
		m, err := c.RegistrationInit(password)
		if err != nil {
			return nil, fmt.Errorf("blind password: %w", err)
		}
		return m.Serialize(), nil
	})
	if err != nil {
		return nil, nil, err
	}
	return r, request, nil
}

// Finish takes the server's response (64 bytes) and returns the upload (192
// bytes) for RegisterFinish, and the export key, which the server never learns.
// It runs Argon2id: 64 MiB, about 0.1 s. The registration is over afterwards,
// whatever happened. Error: [ErrMessage].
func (r *Registration) Finish(response []byte) (upload []byte, export Key, err error) {
	defer r.Close()
	err = r.run.guard(func(c *opaque.Client) error {
		if err := requireSize("registration response", response, RegistrationResponseSize); err != nil {
			return err
		}
		m, err := c.Deserialize.RegistrationResponse(response)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		record, key, err := c.RegistrationFinalize(m, r.run.identity(), nil, clientOptions())
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		upload, export = record.Serialize(), takeKey(key)
		return nil
	})
	return upload, export, err
}

// Close forgets the password. It may be called more than once.
func (r *Registration) Close() { r.run.close() }

// StartLogin returns the request (KE1, 96 bytes) for the server's LoginStart.
// It treats the password as [StartRegistration] does. Errors: [ErrUsername],
// [ErrPassword].
func StartLogin(name Username, password []byte) (*Attempt, []byte, error) {
	return startLogin(name, password, Context)
}

func startLogin(name Username, password []byte, context string) (*Attempt, []byte, error) {
	a := &Attempt{}
	request, err := a.run.start(name, password, context, func(c *opaque.Client, password []byte) ([]byte, error) {
		m, err := c.GenerateKE1(password)
		if err != nil {
			return nil, fmt.Errorf("start key exchange: %w", err)
		}
		return m.Serialize(), nil
	})
	if err != nil {
		return nil, nil, err
	}
	return a, request, nil
}

// Finish takes the server's response (KE2, 320 bytes) and returns the
// finalization (KE3, 64 bytes) for LoginFinish, the session key, and the export
// key of the registration. It has then proved that the server holds the
// account's record. It runs Argon2id: 64 MiB, about 0.1 s. The attempt is over
// afterwards, whatever happened. Errors: [ErrMessage] for a response of the
// wrong form, [ErrLoginFailed] for a wrong password, an unknown name or a
// server that is not the one of the registration.
func (a *Attempt) Finish(response []byte) (finalization []byte, session, export Key, err error) {
	defer a.Close()
	err = a.run.guard(func(c *opaque.Client) error {
		if err := requireSize("login response", response, LoginResponseSize); err != nil {
			return err
		}
		m, err := c.Deserialize.KE2(response)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMessage, err)
		}
		ke3, sessionKey, exportKey, err := c.GenerateKE3(m, a.run.identity(), nil, clientOptions())
		if err != nil {
			return ErrLoginFailed
		}
		finalization, session, export = ke3.Serialize(), takeKey(sessionKey), takeKey(exportKey)
		return nil
	})
	return finalization, session, export, err
}

// Close forgets the password. It may be called more than once.
func (a *Attempt) Close() { a.run.close() }

func (r *run) start(name Username, password []byte, context string, blind func(*opaque.Client, []byte) ([]byte, error)) ([]byte, error) {
	defer clear(password)
	if err := name.require(); err != nil {
		return nil, err
	}
	if len(password) == 0 || len(password) > MaxPassword {
		return nil, fmt.Errorf("%w: it has %d bytes, 1 to %d are allowed", ErrPassword, len(password), MaxPassword)
	}
	client, err := opaque.NewClient(configuration(context))
	if err != nil {
		return nil, fmt.Errorf("configure opaque: %w", err)
	}
	r.name, r.client = name, client
	normal := normalize(password)
	defer clear(normal)
	var request []byte
	err = r.guard(func(c *opaque.Client) error {
		request, err = blind(c, normal)
		return err
	})
	if err != nil {
		r.close()
		return nil, err
	}
	return request, nil
}

// normalize copies a password, in NFC if it is UTF-8 (RFC 8265 §4.2.2, rule 4).
// Other bytes stay as they are.
func normalize(password []byte) []byte {
	// NFC at most triples the bytes of UTF-8 (Unicode Standard Annex #15), so
	// that no copy is left behind by growing.
	room := make([]byte, 0, 3*len(password))
	if !utf8.Valid(password) {
		return append(room, password...)
	}
	return norm.NFC.Append(room, password...)
}

// guard runs a step and turns a panic of the library into [ErrMessage].
func (r *run) guard(step func(*opaque.Client) error) (err error) {
	if r.client == nil {
		return fmt.Errorf("%w: this run is over, start again", ErrMessage)
	}
	defer func() {
		if p := recover(); p != nil {
			// The panic's text may hold the password (the library's hash to
			// group prints its input), so it stays here.
			err = fmt.Errorf("%w: the opaque library gave up on it", ErrMessage)
		}
	}()
	return step(r.client)
}

// identity is client_identity of RFC 9807: the canonical name.
func (r *run) identity() []byte { return []byte(r.name.canonical) }

func (r *run) close() {
	if r.client != nil {
		r.client.ClearState()
		r.client = nil
	}
}

func clientOptions() *opaque.ClientOptions {
	s := currentStretch()
	return &opaque.ClientOptions{
		KSFSalt:       make([]byte, stretchSaltSize),
		KSFParameters: []uint64{uint64(s.passes), uint64(s.memoryKiB), uint64(s.lanes)},
		KSFLength:     stretchOutput,
	}
}

// takeKey copies a key of the library and overwrites the original.
func takeKey(b []byte) Key {
	defer clear(b)
	return Key(b)
}

// Format keeps the password out of every verb.
func (Registration) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the password out of slog.
func (Registration) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format keeps the password out of every verb.
func (Attempt) Format(f fmt.State, _ rune) { writeRedacted(f) }

// LogValue keeps the password out of slog.
func (Attempt) LogValue() slog.Value { return slog.StringValue(redacted) }
