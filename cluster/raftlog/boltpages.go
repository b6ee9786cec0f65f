package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// checkPages walks the page tree of a bolt file and returns what is wrong with
// it. bbolt would find out too, but panics on a goroutine of its own, where
// nobody can turn the panic into an error that names the file.
//
// The format is bbolt's version 2 (internal/common/page.go, meta.go), little
// endian: a page is {id u64, flags u16, count u16, overflow u32}, then elements;
// a branch element is {pos u32, ksize u32, page u64}, a leaf element {flags u32,
// pos u32, ksize u32, vsize u32}, with pos counted from the element itself.
func checkPages(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return errors.Join(err, file.Close())
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return errors.Join(fmt.Errorf("map %s: %w", path, err), file.Close())
	}
	err = (&pageWalk{data: data}).run()
	if err != nil {
		err = fmt.Errorf("%s is damaged: %w; %s", path, err, advice)
	}
	return errors.Join(err, unix.Munmap(data), file.Close())
}

const (
	boltMagic   = 0xED0CDAED
	pageHead    = 16
	elementSize = 16
	bucketHead  = 16 // root page u64, sequence u64
	flagBranch  = 0x01
	flagLeaf    = 0x02
	flagBucket  = 0x01 // of a leaf element
	// maxTreeDepth is far beyond any tree that fits a disk.
	maxTreeDepth = 64
)

type pageWalk struct {
	data     []byte
	pageSize uint64
	pages    uint64 // high water mark of the newest meta page
	seen     map[uint64]bool
}

func (w *pageWalk) run() error {
	meta, err := w.newestMeta()
	if err != nil {
		return err
	}
	w.pageSize = uint64(binary.LittleEndian.Uint32(meta[8:]))
	w.pages = binary.LittleEndian.Uint64(meta[40:])
	if w.pageSize < 512 || w.pageSize*w.pages > uint64(len(w.data)) {
		return fmt.Errorf("it should have %d pages of %d bytes, it has %d bytes", w.pages, w.pageSize, len(w.data))
	}
	w.seen = map[uint64]bool{}
	return w.page(binary.LittleEndian.Uint64(meta[16:]), nil, nil, 0)
}

// newestMeta returns the valid meta page with the higher transaction id. Its
// fields: magic u32, version u32, page size u32, flags u32, root u64, sequence
// u64, freelist u64, high water u64, txid u64, checksum u64.
func (w *pageWalk) newestMeta() ([]byte, error) {
	var newest []byte
	for _, size := range []uint64{uint64(os.Getpagesize()), 4096} {
		for i := range uint64(2) {
			at := i*size + pageHead
			if at+64 > uint64(len(w.data)) {
				continue
			}
			meta := w.data[at : at+64]
			sum := fnv.New64a()
			_, _ = sum.Write(meta[:56]) // never fails
			if binary.LittleEndian.Uint32(meta) != boltMagic || binary.LittleEndian.Uint64(meta[56:]) != sum.Sum64() {
				continue
			}
			if newest == nil || binary.LittleEndian.Uint64(meta[48:]) > binary.LittleEndian.Uint64(newest[48:]) {
				newest = meta
			}
		}
	}
	if newest == nil {
		return nil, errors.New("neither of its meta pages is valid")
	}
	return newest, nil
}

// page checks one page and what lies below it: keys rise and stay in [low, high).
func (w *pageWalk) page(id uint64, low, high []byte, depth int) error {
	if id < 2 || id >= w.pages || w.seen[id] || depth > maxTreeDepth {
		return fmt.Errorf("page %d can't stand where it is named", id)
	}
	w.seen[id] = true
	head := w.data[id*w.pageSize:]
	extra := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || id+extra >= w.pages {
		return fmt.Errorf("page %d says that it is page %d with %d more", id, binary.LittleEndian.Uint64(head), extra)
	}
	return w.elements(head[:(1+extra)*w.pageSize], fmt.Sprint("page ", id), low, high, depth)
}

// elements checks the elements of a page or of an inline bucket.
func (w *pageWalk) elements(page []byte, name string, low, high []byte, depth int) error {
	flags, count := binary.LittleEndian.Uint16(page[8:]), int(binary.LittleEndian.Uint16(page[10:]))
	if flags != flagBranch && flags != flagLeaf || len(page) < pageHead+count*elementSize {
		return fmt.Errorf("%s has flags %#x and %d elements", name, flags, count)
	}
	keys := make([][]byte, count)
	for i := range count {
		at := pageHead + i*elementSize
		key, _, err := w.element(page, at, flags)
		if err != nil {
			return fmt.Errorf("%s, element %d: %w", name, i, err)
		}
		if (i > 0 && bytes.Compare(keys[i-1], key) >= 0) || (low != nil && bytes.Compare(key, low) < 0) || (high != nil && bytes.Compare(key, high) >= 0) {
			return fmt.Errorf("%s, element %d: its key is out of order", name, i)
		}
		keys[i] = key
	}
	for i := range count {
		if err := w.below(page, i, keys, flags, high, depth); err != nil {
			return err
		}
	}
	return nil
}

// element returns a leaf's or a branch's key, and a leaf's value.
func (w *pageWalk) element(page []byte, at int, flags uint16) (key, value []byte, err error) {
	e := page[at : at+elementSize]
	pos, ksize, vsize := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:]), uint32(0)
	if flags == flagLeaf {
		pos, ksize, vsize = binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
	}
	start := uint64(at) + uint64(pos)
	end := start + uint64(ksize) + uint64(vsize)
	if end > uint64(len(page)) || (flags == flagLeaf && ksize == 0) {
		return nil, nil, errors.New("it reaches beyond its page")
	}
	split := start + uint64(ksize)
	return page[start:split], page[split:end], nil
}

// below follows element i: a branch to its child, a bucket to its tree.
func (w *pageWalk) below(page []byte, i int, keys [][]byte, flags uint16, high []byte, depth int) error {
	at := pageHead + i*elementSize
	if flags == flagBranch {
		if i+1 < len(keys) {
			high = keys[i+1]
		}
		return w.page(binary.LittleEndian.Uint64(page[at+8:]), keys[i], high, depth+1)
	}
	if binary.LittleEndian.Uint32(page[at:])&flagBucket == 0 {
		return nil
	}
	_, value, err := w.element(page, at, flags)
	if err != nil {
		return err
	}
	if len(value) < bucketHead {
		return fmt.Errorf("bucket %q has no header", keys[i])
	}
	if root := binary.LittleEndian.Uint64(value); root != 0 {
		return w.page(root, nil, nil, depth+1)
	}
	inline := value[bucketHead:]
	if len(inline) < pageHead {
		return fmt.Errorf("inline bucket %q is too short", keys[i])
	}
	return w.elements(inline, fmt.Sprintf("bucket %q", keys[i]), nil, nil, depth+1)
}
