package fsm

import (
	"testing"
)

// rowsOf is a state of some rows alone.
type rowsOf struct {
	state
	rows map[string][]byte
}

func (r rowsOf) row(_ table, key []byte) ([]byte, bool) {
	value, ok := r.rows[string(key)]
	return value, ok
}

func (r rowsOf) fail(err error) { panic(err) }

// What a restored cluster remembers of a device's instance says nothing: who went on
// after the backup would be shut out.
func TestInstanceEndsWithARestoredCluster(t *testing.T) {
	key, id := AccountKey{1}, DeviceID{2}
	for _, c := range []struct{ set, now, want uint64 }{{0, 0, 9}, {0, 1, 0}, {1, 1, 9}, {1, 2, 0}} {
		row := instanceRow{instance: 9, incarnation: c.set}
		st := rowsOf{rows: map[string][]byte{string(rowKey(tableInstances, key[:], id[:])): row.encode()}}
		if c.now != 0 {
			st.rows[string(settingKey(incarnationKey))] = le.AppendUint64(nil, c.now)
		}
		if got := instance(st, key, id); got != c.want {
			t.Errorf("set in incarnation %d and read in %d: %d, want %d", c.set, c.now, got, c.want)
		}
	}
	var row instanceRow
	for _, bytes := range []string{"", "123456789012345", "12345678901234567"} {
		if err := row.decode([]byte(bytes)); err == nil {
			t.Errorf("a row of %d bytes was taken", len(bytes))
		}
	}
}
