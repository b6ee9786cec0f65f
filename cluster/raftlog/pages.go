package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// A bolt file is mapped into memory and its pages are believed: one flipped bit
// in a page's header makes bbolt panic on a goroutine where nobody can recover,
// or fault. So the structure is walked first with plain reads: both meta pages,
// every branch and leaf page that can be reached, bounds and order of every key.
// The values are not read: they have checksums of their own.
//
// bbolt goes back to the older of its two meta pages when the newer does not
// check, which silently undoes the last transaction. A meta lies within one disk
// sector, so a power cut does not tear it, and one that does not check is damage.
//
// The layout is bbolt's (internal/common, version 2), in the machine's byte order.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHead    = 16      // id 8, flags 2, count 2, overflow 4
	metaSize    = 64      // behind the page's head
	metaSummed  = 56      // what its checksum covers
	elementSize = 16      // of a branch and of a leaf
	bucketHead  = 16      // root page 8, sequence 8
	minPage     = 1 << 10 // bytes
	maxPage     = 1 << 16 // bytes
	maxDepth    = 32      // levels; a tree of 4 KiB pages with 2^40 keys has 6
	maxBoltKey  = 1 << 10 // bytes; ours have 4 to 8

	flagBranch = 0x01
	flagLeaf   = 0x02
	noFreelist = ^uint64(0)
	isBucket   = 0x01
)

// The buckets of raft-boltdb.
const (
	logsBucket = "logs"
	confBucket = "conf"
	logKeySize = 8
)

// pages walks a bolt file.
type pages struct {
	r    io.ReaderAt
	size int64 // of a page, bytes
	high uint64
	seen []uint64 // a bit for each page below high
}

// checkBoltFile returns why a file is no whole bolt file of raft-boltdb.
func checkBoltFile(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = checkPages(f, info.Size())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%w: %s: %w; %s", ErrDamaged, file, err, advice)
	}
	return nil
}

func checkPages(r io.ReaderAt, fileSize int64) error {
	meta, err := newestMeta(r)
	if err != nil {
		return err
	}
	if meta.freelist != noFreelist {
		return errors.New("it has a free list, which we never write")
	}
	if meta.high > uint64(fileSize/meta.pageSize) {
		return fmt.Errorf("it has %d bytes, its meta page says %d pages of %d: it was cut off", fileSize, meta.high, meta.pageSize)
	}
	p := &pages{r: r, size: meta.pageSize, high: meta.high, seen: make([]uint64, meta.high/64+1)}
	found := 0
	err = p.page(meta.root, 0, nil, nil, func(e element) error {
		found++
		return p.bucket(e)
	})
	if err == nil && found != 2 {
		err = fmt.Errorf("it has %d buckets, want 2", found)
	}
	return err
}

// meta is what a meta page says.
type meta struct {
	pageSize                   int64
	root, freelist, high, txid uint64
}

func newestMeta(r io.ReaderAt) (meta, error) {
	first, err := readMeta(r, 0)
	if err != nil {
		return first, fmt.Errorf("meta page 0: %w", err)
	}
	second, err := readMeta(r, first.pageSize)
	if err != nil {
		return second, fmt.Errorf("meta page 1: %w", err)
	}
	if second.txid > first.txid {
		first, second = second, first
	}
	if first.pageSize != second.pageSize {
		return first, errors.New("its meta pages disagree")
	}
	return first, nil
}

func readMeta(r io.ReaderAt, at int64) (m meta, err error) {
	var raw [metaSize]byte
	if _, err := r.ReadAt(raw[:], at+pageHead); err != nil {
		return m, err
	}
	order := binary.NativeEndian
	sum := fnv.New64a()
	_, _ = sum.Write(raw[:metaSummed]) // never fails
	switch {
	case order.Uint32(raw[0:]) != boltMagic:
		return m, errors.New("it is no bolt file")
	case order.Uint32(raw[4:]) != boltVersion:
		return m, fmt.Errorf("bolt version %d, want %d", order.Uint32(raw[4:]), boltVersion)
	case order.Uint64(raw[metaSummed:]) != sum.Sum64():
		return m, errors.New("its checksum differs")
	}
	m = meta{
		pageSize: int64(order.Uint32(raw[8:])),
		root:     order.Uint64(raw[16:]),
		freelist: order.Uint64(raw[32:]),
		high:     order.Uint64(raw[40:]),
		txid:     order.Uint64(raw[48:]),
	}
	if m.pageSize < minPage || m.pageSize > maxPage || m.pageSize&(m.pageSize-1) != 0 {
		return m, fmt.Errorf("pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// element is one key of a leaf page and where its value lies.
type element struct {
	flags   uint32
	key     []byte
	valueAt int64
	length  int64
}

// bucket checks an entry of the root and walks its tree.
func (p *pages) bucket(e element) error {
	name := string(e.key)
	if (name != logsBucket && name != confBucket) || e.flags != isBucket || e.length < bucketHead {
		return fmt.Errorf("its root has an entry %q", e.key)
	}
	check := func(e element) error {
		switch {
		case e.flags != 0:
			return fmt.Errorf("bucket %s: an entry with flags %#x", name, e.flags)
		case name == logsBucket && len(e.key) != logKeySize:
			return fmt.Errorf("bucket %s: a key of %d bytes", name, len(e.key))
		case name == confBucket && string(e.key) != stableKey:
			return fmt.Errorf("bucket %s: key %q is none of ours", name, e.key)
		}
		return nil
	}
	var head [bucketHead]byte
	if _, err := p.r.ReadAt(head[:], e.valueAt); err != nil {
		return err
	}
	if root := binary.NativeEndian.Uint64(head[:]); root != 0 {
		return p.page(root, 0, nil, nil, check)
	}
	// A small bucket: its only page lies behind the head.
	at, room := e.valueAt+bucketHead, e.length-bucketHead
	if room < pageHead {
		return fmt.Errorf("bucket %s: %d bytes are no page", name, room)
	}
	h, err := p.head(at)
	if err != nil {
		return err
	}
	if h.flags != flagLeaf {
		return fmt.Errorf("bucket %s: a page with flags %#x", name, h.flags)
	}
	return p.leaf(at, room, h.count, nil, nil, check)
}

type head struct {
	id       uint64
	flags    uint16
	count    int64
	overflow uint32
}

func (p *pages) head(at int64) (h head, err error) {
	var raw [pageHead]byte
	if _, err := p.r.ReadAt(raw[:], at); err != nil {
		return h, err
	}
	order := binary.NativeEndian
	return head{
		id: order.Uint64(raw[0:]), flags: order.Uint16(raw[8:]),
		count: int64(order.Uint16(raw[10:])), overflow: order.Uint32(raw[12:]),
	}, nil
}

// page walks a page and those below it. Its keys lie in [low, high); nil is no
// bound.
func (p *pages) page(id uint64, depth int, low, high []byte, each func(element) error) error {
	if id < 2 || id >= p.high || depth > maxDepth {
		return fmt.Errorf("page %d of %d at depth %d", id, p.high, depth)
	}
	h, err := p.head(int64(id) * p.size)
	if err != nil {
		return err
	}
	if h.id != id || uint64(h.overflow) >= p.high-id {
		return fmt.Errorf("page %d says it is %d with %d more", id, h.id, h.overflow)
	}
	for n := id; n <= id+uint64(h.overflow); n++ {
		if p.seen[n/64]&(1<<(n%64)) != 0 {
			return fmt.Errorf("page %d is used twice", n)
		}
		p.seen[n/64] |= 1 << (n % 64)
	}
	at, room := int64(id)*p.size, (1+int64(h.overflow))*p.size
	switch h.flags {
	case flagLeaf:
		err = p.leaf(at, room, h.count, low, high, each)
	case flagBranch:
		err = p.branch(at, room, h.count, depth, low, high, each)
	default:
		err = fmt.Errorf("flags %#x", h.flags)
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

func (p *pages) leaf(at, room, count int64, low, high []byte, each func(element) error) error {
	raw, err := p.elements(at, room, count)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	var last []byte
	for i := range count {
		e := raw[i*elementSize:]
		start := pageHead + i*elementSize + int64(order.Uint32(e[4:]))
		length := int64(order.Uint32(e[12:]))
		key, err := p.key(at, start, int64(order.Uint32(e[8:])), room-length)
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if !inOrder(last, key, low, high) {
			return fmt.Errorf("entry %d: the keys are out of order", i)
		}
		last = key
		err = each(element{flags: order.Uint32(e), key: key, valueAt: at + start + int64(len(key)), length: length})
		if err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
	}
	return nil
}

func (p *pages) branch(at, room, count int64, depth int, low, high []byte, each func(element) error) error {
	if count == 0 {
		return errors.New("a branch without leaves")
	}
	raw, err := p.elements(at, room, count)
	if err != nil {
		return err
	}
	order := binary.NativeEndian
	keys := make([][]byte, count)
	var last []byte
	for i := range keys {
		e := raw[i*elementSize:]
		start := pageHead + int64(i*elementSize) + int64(order.Uint32(e[0:]))
		if keys[i], err = p.key(at, start, int64(order.Uint32(e[4:])), room); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if !inOrder(last, keys[i], low, high) {
			return fmt.Errorf("entry %d: the keys are out of order", i)
		}
		last = keys[i]
	}
	for i, key := range keys {
		below := high
		if i+1 < len(keys) {
			below = keys[i+1]
		}
		if err := p.page(order.Uint64(raw[i*elementSize+8:]), depth+1, key, below, each); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) elements(at, room, count int64) ([]byte, error) {
	if pageHead+count*elementSize > room {
		return nil, fmt.Errorf("%d entries in %d bytes", count, room)
	}
	raw := make([]byte, count*elementSize)
	_, err := p.r.ReadAt(raw, at+pageHead)
	return raw, err
}

// key reads a key of a page; start and limit count from the page's beginning.
func (p *pages) key(at, start, size, limit int64) ([]byte, error) {
	if size == 0 || size > maxBoltKey || start+size > limit {
		return nil, fmt.Errorf("a key of %d bytes at %d", size, start)
	}
	key := make([]byte, size)
	_, err := p.r.ReadAt(key, at+start)
	return key, err
}

func inOrder(last, key, low, high []byte) bool {
	return (last == nil || bytes.Compare(last, key) < 0) &&
		(low == nil || bytes.Compare(low, key) <= 0) &&
		(high == nil || bytes.Compare(key, high) < 0)
}
