package fsm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/schemas"
)

// The record of a name is that of its account, however many devices it has; a
// name that nobody has or that is held has none.
func TestRecordOfName(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	write := func(by schemas.Caller, fill func(schemas.Entry_command) error) {
		t.Helper()
		index := s.Index() + 1
		entry, err := schemas.BuildEntry(newID(int(index)), by, fill)
		must(t, err)
		sealed, err := schemas.SealBatch(1000, [][]byte{entry})
		must(t, err)
		results, err := s.Apply([]Log{{Index: index, Data: sealed}})
		must(t, err)
		if code := results[0][0].Code; code != schemas.Code_ok {
			t.Fatal(code)
		}
	}
	want := func(name string, record []byte) {
		t.Helper()
		v, err := s.View()
		must(t, err)
		defer func() { must(t, v.Close()) }()
		if got, err := v.Record(name); err != nil || !bytes.Equal(got, record) {
			t.Errorf("%s has record %x, %v; want %x", name, got, err, record)
		}
		key, _, err := v.AccountByName(name)
		must(t, err)
		if a, _, err := v.Account(key); err != nil || !bytes.Equal(a.Record, record) {
			t.Errorf("%s has an account with record %x, %v", name, a.Record, err)
		}
	}
	key, record := accountKey("ann"), []byte("a record")
	want("ann", nil)
	write(schemas.Caller{Kind: schemas.Actor_Kind_node}, func(to schemas.Entry_command) error {
		p, err := to.NewCreateAccount()
		must(t, err)
		return errors.Join(p.SetUsername("ann"), p.SetIdentityKey(key), p.SetRecord(record))
	})
	want("ann", record)
	want("bob", nil)
	ann := schemas.Caller{Kind: schemas.Actor_Kind_account, Account: key}
	for i := range byte(10) {
		write(ann, func(to schemas.Entry_command) error {
			p, err := to.NewRegisterDevice()
			must(t, err)
			return errors.Join(p.SetDeviceId(bytes.Repeat([]byte{i + 1}, 16)), p.SetDeviceName("device"), p.SetDeviceKey(key))
		})
	}
	want("ann", record)
	write(ann, func(to schemas.Entry_command) error {
		_, err := to.NewDeleteAccount()
		return err
	})
	want("ann", nil)
}
