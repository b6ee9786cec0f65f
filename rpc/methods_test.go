package rpc

import (
	"testing"

	"quicproquo/schemas"
)

// Every method of the interface stands in exactly one of the two tables, under
// its name and ordinal, with its limits; no table has a method more.
func TestEveryMethodIsInOneTable(t *testing.T) {
	methods := schemas.NodeService_Methods(nil, nil)
	known := map[uint16]bool{}
	for _, m := range methods {
		ordinal := m.MethodID
		known[ordinal] = true
		rows := 0
		for _, tab := range []*table{&open, &authenticated} {
			row := tab.find(ordinal)
			if row == nil {
				continue
			}
			rows++
			if row.name != m.MethodName {
				t.Errorf("method %d is called %q in the table and %q in node.capnp", ordinal, row.name, m.MethodName)
			}
			if row.maxBytes <= 0 || row.maxBytes > schemas.MaxRequest || row.timeout <= 0 || row.timeout > waiting {
				t.Errorf("method %s has no sensible limits: %d bytes, %v", row.name, row.maxBytes, row.timeout)
			}
			if tab == &open && (row.handle == nil || row.maxBytes > schemas.MaxRequestOpen) {
				t.Errorf("open method %s needs a handler and at most %d bytes", row.name, schemas.MaxRequestOpen)
			}
		}
		if rows != 1 {
			t.Errorf("method %s @%d stands in %d tables, want 1: decide whether it needs a session", m.MethodName, ordinal, rows)
		}
	}
	for ordinal := range uint16(len(open)) {
		if (open.find(ordinal) != nil || authenticated.find(ordinal) != nil) && !known[ordinal] {
			t.Errorf("the tables have a method %d that node.capnp has not", ordinal)
		}
	}
}

// A stranger gets TOKEN_MISSING from every method that needs a session, and its
// handler does not run.
func TestStrangersReachNoAuthenticatedHandler(t *testing.T) {
	tables := authenticated
	for i := range tables {
		if tables[i].name != "" {
			tables[i].handle = func(*call) error {
				t.Errorf("the handler of %s ran for a stranger", tables[i].name)
				return nil
			}
		}
	}
	server := NewServer(newFakeNode(7), Options{Logger: quiet()})
	server.authenticated = &tables
	qc := openDoor(t, server).dial(t)
	for i := range tables {
		if tables[i].name == "" {
			continue
		}
		got := callOn(t, qc, frameOf(t, uint16(i), nil))
		if got.code != schemas.Code_tokenMissing || got.index != 7 {
			t.Errorf("%s: got %s at index %d, want %s at 7", tables[i].name, got.code.ID(), got.index, schemas.Code_tokenMissing.ID())
		}
	}
}
