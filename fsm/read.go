package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// Reading rows, the same from the store, a batch and a snapshot.

// getRow appends a row's value to buf and tells whether there is one.
func getRow(reader pebble.Reader, key, buf []byte) ([]byte, bool, error) {
	value, closer, err := reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return buf, false, nil
	}
	if err != nil {
		return buf, false, fmt.Errorf("read row: %w", err)
	}
	buf = append(buf, value...)
	if err := closer.Close(); err != nil {
		return buf, false, fmt.Errorf("read row: %w", err)
	}
	return buf, true, nil
}

// readMeta returns the zero row for a store that has applied nothing.
func readMeta(reader pebble.Reader) (meta metaRow, err error) {
	row, ok, err := getRow(reader, metaKey(), nil)
	if ok && err == nil {
		err = meta.decode(row)
	}
	return meta, err
}

// readSetting returns a setting's value, its default if it was never changed.
func readSetting(reader pebble.Reader, id settingID) (uint64, error) {
	row, ok, err := getRow(reader, settingKey(settingTable[id].Name), nil)
	if err != nil || !ok {
		return settingTable[id].Default, err
	}
	return decodeNumber(row)
}

// eachEnvelope visits the rows of a queue in [from, to] in order until visit
// returns false. The row is valid during the call only.
func eachEnvelope(reader pebble.Reader, q *QueueID, from, to uint64, visit func(uint64, *envelopeRow) bool) error {
	var lower, upper [maxKey]byte
	var e envelopeRow
	bounds := &pebble.IterOptions{
		LowerBound: appendEnvelopeKey(lower[:0], q, from),
		UpperBound: append(appendEnvelopeKey(upper[:0], q, to), 0),
	}
	return eachRow(reader, bounds, func(key, value []byte) (bool, error) {
		if err := e.decode(value); err != nil {
			return false, err
		}
		return visit(binary.BigEndian.Uint64(key[len(key)-8:]), &e), nil
	})
}

// eachDue visits the rows of the due table up to a bucket, until visit returns
// false.
func eachDue(reader pebble.Reader, bucket uint64, visit func(*dueQueue) bool) error {
	bounds := &pebble.IterOptions{
		LowerBound: []byte{byte(tableDue)},
		UpperBound: binary.BigEndian.AppendUint64([]byte{byte(tableDue)}, bucket+1),
	}
	return eachRow(reader, bounds, func(key, value []byte) (bool, error) {
		var d dueQueue
		rest, ok := []byte(nil), false
		if len(key) > 1+8 {
			d.bucket = binary.BigEndian.Uint64(key[1:])
			d.queue, rest, ok = readQueue(key[1+8:])
		}
		if !ok || len(rest) != 0 {
			return false, fmt.Errorf("due row: %w: key of %d bytes", errRow, len(key))
		}
		if err := d.row.decode(value); err != nil {
			return false, err
		}
		return visit(&d), nil
	})
}

// eachEnd visits the keys of ends up to a second, in order, until visit returns false.
func eachEnd(reader pebble.Reader, second uint64, visit func(key []byte) bool) error {
	return eachFrom(reader, []byte{byte(tableEnds)}, binary.BigEndian.AppendUint64([]byte{byte(tableEnds)}, second+1),
		func(key, _ []byte) bool { return visit(key) })
}

// eachPrefix visits the rows whose keys begin with prefix, in order, until visit
// returns false.
func eachPrefix(reader pebble.Reader, prefix []byte, visit func(key, value []byte) bool) error {
	return eachFrom(reader, prefix, prefixEnd(prefix), visit)
}

// eachFrom visits the rows from one key to before another, until visit returns
// false.
func eachFrom(reader pebble.Reader, from, to []byte, visit func(key, value []byte) bool) error {
	bounds := &pebble.IterOptions{LowerBound: from, UpperBound: to}
	return eachRow(reader, bounds, func(key, value []byte) (bool, error) { return visit(key, value), nil })
}

func eachRow(reader pebble.Reader, bounds *pebble.IterOptions, visit func(key, value []byte) (bool, error)) error {
	it, err := reader.NewIter(bounds)
	if err != nil {
		return fmt.Errorf("open iterator: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		more := false
		if err == nil {
			more, err = visit(it.Key(), value)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("read rows: %w", err), it.Close())
		}
		if !more {
			break
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	return nil
}

func errAttr(err error) slog.Attr { return slog.Any("error", err) }
