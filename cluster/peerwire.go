package cluster

import (
	"errors"
	"fmt"
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// errorCodes is the one translation between this package's errors and codes,
// used in both directions between nodes and by rpc towards clients.
var errorCodes = []struct {
	err  error
	code schemas.Code
}{
	{ErrUnknownOutcome, schemas.Code_unknownOutcome},
	{ErrDiskFull, schemas.Code_diskFull},
	{ErrFeatureLevel, schemas.Code_featureLevel},
	{ErrBadEntry, schemas.Code_malformed},
	{ErrMemberUnknown, schemas.Code_memberUnknown},
	{ErrMemberExists, schemas.Code_memberExists},
	{ErrKeyMajority, schemas.Code_nodeKeyMajority},
	{ErrUnavailable, schemas.Code_unavailable},
	{ErrClosed, schemas.Code_unavailable},
}

// ErrorCode returns the code for an error of this package, internal for others.
func ErrorCode(err error) schemas.Code {
	if err == nil {
		return schemas.Code_ok
	}
	for _, row := range errorCodes {
		if errors.Is(err, row.err) {
			return row.code
		}
	}
	return schemas.Code_internal
}

// codeError is ErrorCode's inverse.
func codeError(code schemas.Code, text string) error {
	for _, row := range errorCodes {
		if row.code == code {
			return fmt.Errorf("%w: %s", row.err, text)
		}
	}
	return fmt.Errorf("%s %s: %s", code.ID(), code.Doc().Name, text)
}

// peerRequest builds a framed request; fill sets the union.
func peerRequest(timeout time.Duration, fill func(schemas.PeerRequest) error) ([]byte, error) {
	msg, seg := schemas.NewMessage()
	req, err := schemas.NewRootPeerRequest(seg)
	if err != nil {
		return nil, fmt.Errorf("build peer request: %w", err)
	}
	req.SetTimeoutMs(uint32(timeout.Milliseconds()))
	if err := fill(req); err != nil {
		return nil, fmt.Errorf("build peer request: %w", err)
	}
	return msg.Marshal()
}

// peerFailure is the answer to a call that failed.
func peerFailure(cause error) (*capnp.Message, error) {
	msg, seg := schemas.NewMessage()
	resp, err := schemas.NewRootPeerResponse(seg)
	if err != nil {
		return nil, err
	}
	failure, err := resp.NewError()
	if err != nil {
		return nil, err
	}
	failure.SetCode(ErrorCode(cause))
	return msg, failure.SetText(cause.Error())
}

// peerError returns the error that an answer carries, if it does.
func peerError(resp schemas.PeerResponse) error {
	if resp.Which() != schemas.PeerResponse_Which_error {
		return nil
	}
	failure, err := resp.Error()
	if err != nil {
		return err
	}
	text, err := failure.Text()
	if err != nil {
		return err
	}
	return codeError(failure.Code(), text)
}
