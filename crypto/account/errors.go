package account

import "errors"

// The errors a client may see. None of them depends on whether a name is
// registered.
var (
	// ErrUsername: the name is not allowed; the wrapping text names what is refused.
	ErrUsername = errors.New("user name refused")
	// ErrMessage: an OPAQUE message has the wrong length or holds no valid
	// group element.
	ErrMessage = errors.New("opaque message refused")
	// ErrLoginFailed: wrong password, or no such account. There is no finer answer.
	ErrLoginFailed = errors.New("login failed: wrong user name or password")
	// ErrNoPendingLogin: the handshake is forged, damaged, of another name, or
	// older than [HandshakeLifetime]. Start the login again.
	ErrNoPendingLogin = errors.New("no pending login for this handshake: start the login again")
	// ErrPassword: the password is empty or longer than [MaxPassword] bytes.
	ErrPassword = errors.New("password refused")
)

// The errors of a node's own data. They are for its operator.
var (
	// ErrRecord: a stored OPAQUE record is damaged or of a newer format.
	ErrRecord = errors.New("stored opaque record unreadable")
	// ErrSetup: a secret record does not open or does not decode.
	ErrSetup = errors.New("opaque secrets unreadable")
)
