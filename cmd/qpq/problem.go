package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/cmd/qpq/internal/plain"
	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Exit codes, for scripts: they stay.
const (
	exitOK         = 0
	exitUser       = 1
	exitUnexpected = 2
	exitIO         = 3
	exitUntrusted  = 4
	exitRateLimit  = 5
)

// usageError is a mistake in how the program was called.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// problem is an error as people and scripts get it.
type problem struct {
	header
	Code    string `json:"code"` // of the table in docs/errors.md, or a word of docs/cli.md
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Next    string `json:"next,omitempty"` // the command to try
	Exit    int    `json:"exit"`
}

// exit reports an error and returns the exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitOK
	}
	p := explain(err)
	if !a.began && p.Exit == exitUnexpected {
		p.Code, p.Exit, p.Next = "USAGE", exitUser, "qpq --help" // cobra's own words
	}
	if a.options.json {
		p.header = header{recordVersion, "error"}
		raw, err := object(p)
		if err == nil {
			fmt.Fprintf(a.notes, "%s\n", raw)
			return p.Exit
		}
	}
	fmt.Fprint(a.notes, p.text())
	return p.Exit
}

// text is what people read: further lines are indented, so that none of a stranger's
// looks like ours.
func (p *problem) text() string {
	under := func(text string) string { return strings.ReplaceAll(plain.Text(text), "\n", "\n     ") }
	text := "qpq: " + under(p.Message) + "\n"
	if p.Hint != "" {
		text += "     " + under(p.Hint) + "\n"
	}
	if p.Next != "" {
		text += "next: " + plain.Line(p.Next) + "\n"
	}
	return text
}

// advice is what is known of an error.
type advice struct {
	err              error
	code, hint, next string
	exit             int
}

// advised are the errors of clients and vaults. The first that fits counts.
func advised() []advice {
	return []advice{
		{client.ErrUntrustedKey, "UNTRUSTED_KEY", "", "qpq contact info NAME", exitUntrusted},
		{tlsid.ErrPin, "PIN_MISMATCH", "Whoever runs the cluster can tell its pin: `qpqd pin` prints it. Do not go on until you know why it is another one.", "qpq doctor", exitUntrusted},
		{conn.ErrUntrusted, "UNTRUSTED_SERVER", "Give the cluster's pin in the address, or its CA with --ca. If the certificate is said to have expired or not to be valid yet, check this machine's clock.", "qpq doctor", exitUntrusted},
		{client.ErrNoServer, "NO_SERVER", "Give the address of a node, once: it is remembered. `qpqd dev` and `qpqd pin` print it.", "qpq register NAME --server 'qpq://HOST:PORT?pin=sha256:…'", exitUser},
		{client.ErrNotRegistered, "NOT_REGISTERED", "", "qpq register NAME", exitUser},
		{client.ErrCopied, "COPIED_PROFILE", "", "qpq take-over", exitUser},
		{&conn.Error{Code: schemas.Code_instanceReplaced}, "COPIED_PROFILE", client.ErrCopied.Hint(), "qpq take-over", exitUser},
		{client.ErrRegistered, "REGISTERED", "", "qpq login, or qpq --profile OTHER register NAME", exitUser},
		{client.ErrNotLoggedIn, "NOT_LOGGED_IN", "", "qpq login", exitUser},
		{client.ErrNoConversation, "NO_CONVERSATION", "", "qpq list, or qpq dm NAME", exitUser},
		{client.ErrAmbiguous, "AMBIGUOUS", "", "qpq list", exitUser},
		{client.ErrNoMessage, "NO_MESSAGE", "", "qpq history CONVERSATION", exitUser},
		{client.ErrNotYours, "NOT_YOURS", "", "qpq history CONVERSATION", exitUser},
		{client.ErrDeleted, "MESSAGE_DELETED", "", "qpq history CONVERSATION", exitUser},
		{client.ErrNotGroup, "NOT_GROUP", "", "qpq group create TITLE NAME…", exitUser},
		{client.ErrNotSent, "NOT_SENT", "", "qpq list", exitUser},
		{client.ErrNotMember, "NOT_MEMBER", "", "qpq list", exitUser},
		{client.ErrNotAdmin, "NOT_ADMIN", "", "qpq group members GROUP", exitUser},
		{client.ErrLastAdmin, "LAST_ADMIN", "", "qpq group promote GROUP NAME", exitUser},
		{client.ErrNotIn, "NOT_IN_GROUP", "", "qpq group members GROUP", exitUser},
		{client.ErrAlreadyIn, "ALREADY_IN_GROUP", "", "qpq group members GROUP", exitUser},
		{client.ErrRequest, "REQUEST", "", "qpq requests", exitUser},
		{client.ErrNotInvited, "NOT_INVITED", "", "qpq group invited GROUP", exitUser},
		{client.ErrCancelled, "CANCELLED", "", "", exitUser},
		{client.ErrNoRequest, "NO_REQUEST", "", "qpq requests", exitUser},
		{client.ErrUnproven, "UNPROVEN_KEYS", "", "qpq requests", exitUser},
		{client.ErrNamedByOther, "NAMED_BY_OTHER", "", "qpq list", exitUser},
		{client.ErrNoWayBack, "NO_WAY_BACK", "", "qpq list", exitUser},
		{client.ErrBroken, "BROKEN_CONVERSATION", "", "qpq group create TITLE NAME…", exitUser},
		{content.ErrLimit, "TEXT_REFUSED", "Shorten it, or send it in parts.", "", exitUser},
		{content.ErrMalformed, "TEXT_REFUSED", "A text is UTF-8 and not empty; a reaction is one emoji.", "", exitUser},
		{vault.ErrWrongKey, "WRONG_PASSPHRASE", "The passphrase is that of the profile on this machine, not the account's password. Without it nobody can open the profile.", "try again, or qpq import a backup", exitUser},
		{vault.ErrMissing, "NO_PROFILE", "", "qpq register NAME", exitUser},
		{vault.ErrExists, "PROFILE_EXISTS", "A profile is never overwritten.", "qpq --profile OTHER …", exitUser},
		{vault.ErrBusy, "PROFILE_BUSY", "One program at a time uses a profile: end the other one, such as a chat or `recv --follow`.", "try again", exitIO},
		{vault.ErrNewer, "PROFILE_NEWER", "Update qpq on this machine.", "qpq --version", exitUser},
		{vault.ErrCorrupt, "PROFILE_DAMAGED", "Nothing was changed. The newest backup can be imported into another profile.", "qpq --profile OTHER import FILE", exitIO},
		{vault.ErrKeyring, "KEYRING", "Unlock the keyring, or use a passphrase for a new profile.", "qpq doctor", exitIO},
		{vault.ErrFull, "DISK_FULL_HERE", "Free space on this machine; what was stored before is still there.", "try again", exitIO},
		{vault.ErrFailed, "DISK_FAILED_HERE", "The disk did not confirm a write: look at the machine's log.", "qpq doctor", exitIO},
		{context.DeadlineExceeded, "TIMEOUT", "What the command wanted stays in the profile and is done when a node can be reached.", "qpq status", exitIO},
		{context.Canceled, "INTERRUPTED", "What the command wanted stays in the profile.", "qpq status", exitUser},
	}
}

// explain finds what to say about an error.
func explain(err error) problem {
	p := problem{Code: "UNEXPECTED", Message: message(err), Exit: exitUnexpected, Next: "qpq doctor"}
	if e, ok := errors.AsType[errNoTerminal](err); ok {
		p.Code, p.Hint, p.Next, p.Exit = "NO_TERMINAL", e.next(), "", exitUser
		return p
	}
	if e, ok := errors.AsType[errUnwell](err); ok { // each finding has had its advice
		p = explain(e.cause)
		p.Message, p.Hint, p.Next = message(err), "", ""
		return p
	}
	for _, known := range advised() {
		if errors.Is(err, known.err) {
			p.Code, p.Hint, p.Next, p.Exit = known.code, known.hint, known.next, known.exit
			if e, ok := errors.AsType[*client.Problem](err); ok && p.Hint == "" {
				p.Hint = e.Hint()
			}
			return p
		}
	}
	if e, ok := errors.AsType[*conn.Error](err); ok {
		p.Code, p.Hint, p.Exit = e.Code.ID(), e.Hint(), exitOf(e.Code)
		p.Next = "qpq errors " + e.Code.ID()
		return p
	}
	if e, ok := errors.AsType[*client.Problem](err); ok {
		p.Code, p.Hint, p.Next, p.Exit = "REFUSED", e.Hint(), "", exitUser
		return p
	}
	if _, ok := errors.AsType[usageError](err); ok {
		p.Code, p.Next, p.Exit = "USAGE", "", exitUser
		return p
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok || errors.Is(err, os.ErrPermission) {
		p.Code, p.Next, p.Exit = "FILE", "", exitIO
	}
	return p
}

// exitOf is the exit code of a code of the cluster.
func exitOf(code schemas.Code) int {
	switch code { //nolint:exhaustive // the others are the user's
	case schemas.Code_rateLimited:
		return exitRateLimit
	case schemas.Code_unavailable, schemas.Code_unknownOutcome, schemas.Code_deadlineExceeded, schemas.Code_lagging,
		schemas.Code_diskFull, schemas.Code_storage:
		return exitIO
	case schemas.Code_internal:
		return exitUnexpected
	}
	return exitUser
}

// message is an error's text: a line per cause, none of them twice.
func message(err error) string {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(err.Error())) {
		if line = strings.TrimRight(line, "\n"); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}
