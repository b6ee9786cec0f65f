package vault

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	cipher "lukechampine.com/adiantum"
)

// checkLog looks for damage in the log that a crash has left, before SQLite reads
// it. SQLite takes the first frame that is not intact for the end of what was
// written when the crash came and drops all that follows: right for the transaction
// that was under way, wrong for one that was acknowledged. A transaction begins only
// when the one before it is on the disk; so a commit behind a broken frame that has
// a successor shows that what was broken had been acknowledged.
//
// That leaves the end of the log: if the last transaction is damaged, it is dropped as
// if it had not been finished, and so is the one before if the damage is in a block
// that both have a part in. So is all behind the place where a log was cut off.
func checkLog(name string, dataKey []byte) error {
	f, err := os.Open(name)
	if notExist(err) {
		return nil // the vault was closed
	}
	if err != nil {
		return fmt.Errorf("check log: %w", err)
	}
	defer f.Close()
	plain := &plainReader{f: f, pages: pages{cipher: cipher.New(dataKey)}}
	r := bufio.NewReaderSize(plain, blockSize)
	var header [walHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return endOfLog(err)
	}
	l := newLogCheck(header[:])
	frame := make([]byte, walFrame)
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, frame); err != nil {
			return endOfLog(err)
		}
		if l.lost(frame) {
			return fmt.Errorf("%w: the log is broken before its frame %d, and what was stored there is lost; "+
				"restore a backup", ErrCorrupt, n)
		}
	}
}

// endOfLog is nil where the log ends, be it within a frame.
func endOfLog(err error) error {
	if realError(err) == nil {
		return nil
	}
	return fmt.Errorf("check log: %w", err)
}

// logCheck goes through the frames of a log
// (https://sqlite.org/fileformat2.html#the_write_ahead_log).
type logCheck struct {
	order  binary.ByteOrder
	salts  []byte // of the log; nil if its header is broken
	broken bool   // a frame that SQLite does not accept was met
	sum    logSum // what the next frame's sum builds on
	before []byte // the frame before
}

// logSum is the running checksum of a log.
type logSum [2]uint32

const (
	walMagic     = 0x377f0682 // and 1 more for sums over big-endian words
	frameHeader  = walFrame - blockSize
	frameSummed  = 8  // bytes of a frame's header that count in its sum
	frameSalts   = 8  // where the salts are
	frameSum     = 16 // where the sum is
	headerSalts  = 16
	headerSummed = 24
)

func newLogCheck(header []byte) *logCheck {
	l := &logCheck{order: binary.LittleEndian}
	magic := binary.BigEndian.Uint32(header)
	if magic == walMagic+1 {
		l.order = binary.BigEndian
	}
	l.sum = l.add(logSum{}, header[:headerSummed])
	if magic&^1 != walMagic || l.sum != storedSum(header[headerSummed:]) {
		l.broken = true
		return l
	}
	l.salts = bytes.Clone(header[headerSalts:headerSummed])
	return l
}

// lost takes the next frame and reports whether it proves that something acknowledged
// is lost.
func (l *logCheck) lost(frame []byte) bool {
	salts := frame[frameSalts:frameSum]
	stored := storedSum(frame[frameSum:])
	chained := l.add(l.add(l.sum, frame[:frameSummed]), frame[frameHeader:]) == stored
	ours := l.salts == nil || bytes.Equal(salts, l.salts)
	proof := l.broken && ours && chained && l.before != nil && commits(l.before) &&
		bytes.Equal(salts, l.before[frameSalts:frameSum]) && !samePage(frame, l.before)
	l.broken = l.broken || !ours || !chained
	l.sum = stored
	l.before = append(l.before[:0], frame...)
	return proof
}

// commits reports whether a frame is the last of a transaction: it says how large the
// database is after it.
func commits(frame []byte) bool { return binary.BigEndian.Uint32(frame[4:]) != 0 }

// samePage reports whether a frame is the copy with which SQLite fills the log up to
// a whole sector after a commit.
func samePage(a, b []byte) bool {
	return bytes.Equal(a[:frameSummed], b[:frameSummed]) && bytes.Equal(a[frameHeader:], b[frameHeader:])
}

func storedSum(raw []byte) logSum {
	return logSum{binary.BigEndian.Uint32(raw), binary.BigEndian.Uint32(raw[4:])}
}

// add sums whole pairs of words up.
func (l *logCheck) add(s logSum, raw []byte) logSum {
	for ; len(raw) >= 8; raw = raw[8:] {
		s[0] += l.order.Uint32(raw) + s[1]
		s[1] += l.order.Uint32(raw[4:]) + s[0]
	}
	return s
}

// plainReader decrypts a file of whole blocks; what is less at its end is left out.
type plainReader struct {
	f     *os.File
	pages pages
	at    int64
}

// Read returns a block at a time; p has room for it.
func (r *plainReader) Read(p []byte) (int, error) {
	block, err := r.pages.decrypt(r.f, r.at)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if err != nil {
		return 0, err
	}
	r.at += blockSize
	return copy(p, block), nil
}
