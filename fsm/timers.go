package fsm

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// Timers end what lasts for a time: sessions, handshakes, endpoints and the like.
// A timer is a row under the bucket of log time in which something may be over;
// the expire command runs those whose bucket has come. What a timer speaks of may
// have been renewed or have gone since it was set, so its handler looks, and sets
// the next timer if it is too early. Nobody takes timers back.

// timerKind says whose a timer is. A kind's number is part of the format.
type timerKind byte

const (
	timerSession timerKind = iota + 1
	timerHandshake
	timerLogin
	timerEndpoint
	timerUsername
	timerPackage
	timerClaim
	timerGroup
	timerPurge
	timerNames
	timerShare
	timerInvite
)

// timerHandlers is the one table of what runs when a timer's bucket has come.
var timerHandlers = [...]func(tx *Tx, key []byte){
	timerSession:   endSession,
	timerHandshake: forgetHandshake,
	timerLogin:     forgetLogins,
	timerEndpoint:  endEndpoint,
	timerUsername:  releaseUsername,
	timerPackage:   endPackage,
	timerClaim:     endClaims,
	timerGroup:     endGroup,
	timerPurge:     purge,
	timerNames:     indexNames,
	timerShare:     endShare,
	timerInvite:    endInvite,
}

// setTimer has kind's handler run with key once log time is at or after at, within
// bucketMs and the leader's rhythm.
func (tx *Tx) setTimer(kind timerKind, key []byte, at uint64) {
	tx.set(tableTimers, timerKey(bucketOf(max(at, 1)), kind, key), nil)
}

func timerKey(bucket uint64, kind timerKind, key []byte) []byte {
	row := binary.BigEndian.AppendUint64([]byte{byte(tableTimers)}, bucket)
	return append(append(row, byte(kind)), key...)
}

const timerKeyFixed = 1 + 8 + 1

// runTimers runs timers whose bucket has come, oldest first, until limit of them
// have run or what they purge has as many rows. It returns how many have run.
func (tx *Tx) runTimers(limit uint64) (ran uint64) {
	tx.purged = 0
	for _, key := range tx.dueTimers(limit) {
		if ran+tx.purged >= limit {
			break
		}
		ran++
		tx.delete(tableTimers, key)
		kind := key[timerKeyFixed-1]
		if int(kind) >= len(timerHandlers) || timerHandlers[kind] == nil {
			tx.fail(brokenf("a timer is of the unknown kind %d", kind))
			return 0
		}
		timerHandlers[kind](tx, key[timerKeyFixed:])
	}
	return ran
}

// dueTimers returns keys of the first timers whose bucket has come.
func (tx *Tx) dueTimers(limit uint64) (due [][]byte) {
	if limit == 0 {
		return nil
	}
	err := eachTimer(tx.reader(tableTimers), tx.now()/bucketMs, func(key []byte) bool {
		due = append(due, clone(key))
		return uint64(len(due)) < limit
	})
	if err != nil {
		tx.fail(err)
	}
	return due
}

func (tx *Tx) anyTimer() bool { return len(tx.dueTimers(1)) > 0 }

// timerDue tells whether a timer stands at or before a bucket.
func timerDue(reader pebble.Reader, bucket uint64) (due bool, err error) {
	err = eachTimer(reader, bucket, func([]byte) bool {
		due = true
		return false
	})
	return due, err
}

func eachTimer(reader pebble.Reader, bucket uint64, visit func(key []byte) bool) error {
	bounds := &pebble.IterOptions{
		LowerBound: []byte{byte(tableTimers)},
		UpperBound: binary.BigEndian.AppendUint64([]byte{byte(tableTimers)}, bucket+1),
	}
	return eachRow(reader, bounds, func(key, _ []byte) (bool, error) {
		if len(key) < timerKeyFixed {
			return false, brokenf("a timer has a key of %d bytes", len(key))
		}
		return visit(key), nil
	})
}
