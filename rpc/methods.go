package rpc

import (
	"time"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// method is one row of a method table.
type method struct {
	name string // as in node.capnp
	// maxBytes bounds the framed request.
	maxBytes int
	// timeout is the time of a call that names none.
	timeout time.Duration
	// draining methods are answered while the node is about to stop.
	draining bool
	// handle runs the call. Nil: the method is declared and not served yet.
	handle handler
}

// handler fills the call's results, or fails.
type handler func(*call) error

// table is indexed by the method's ordinal in NodeService; a row without a name
// is no method of the table.
type table [8]method

// open are the methods that anybody may call.
var open = table{
	5: {name: "health", maxBytes: smallMethod, timeout: schemas.DefaultCallTimeout, draining: true, handle: serve(schemas.NewHealthResults, health)},
}

// authenticated are the methods that need a session. A method is in exactly one
// of the two tables, so authentication can't be forgotten: a test walks the
// interface.
var authenticated = table{
	0: {name: "uploadKeyPackage", maxBytes: 64 << 10, timeout: schemas.DefaultCallTimeout},
	1: {name: "fetchKeyPackage", maxBytes: smallMethod, timeout: schemas.DefaultCallTimeout},
	2: {name: "enqueue", maxBytes: schemas.MaxBody + smallMethod, timeout: schemas.DefaultCallTimeout},
	3: {name: "fetch", maxBytes: smallMethod, timeout: schemas.DefaultCallTimeout},
	4: {name: "fetchWait", maxBytes: smallMethod, timeout: schemas.MaxCallTimeout},
	6: {name: "uploadHybridKey", maxBytes: smallMethod, timeout: schemas.DefaultCallTimeout},
	7: {name: "fetchHybridKey", maxBytes: smallMethod, timeout: schemas.DefaultCallTimeout},
}

// find returns the row of an ordinal, nil for none.
func (t *table) find(ordinal uint16) *method {
	if int(ordinal) >= len(t) || t[ordinal].name == "" {
		return nil
	}
	return &t[ordinal]
}

// serve makes a handler of a function over a method's own parameter and result
// structs.
func serve[P, R ~capnp.StructKind](newResults func(*capnp.Segment) (R, error), run func(*call, P, R) error) handler {
	return func(c *call) error {
		params, err := c.params()
		if err != nil {
			return err
		}
		results, err := newResults(c.response.Segment())
		if err != nil {
			return err
		}
		if err := c.response.SetResults(capnp.Struct(results).ToPtr()); err != nil {
			return err
		}
		return run(c, P(params), results)
	}
}
