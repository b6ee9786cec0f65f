package fsm

import (
	"crypto/sha256"

	"quicproquo/crypto/confusable"
)

// Usernames that can be told apart: a new one is of one script, and looks like no other
// account's (docs/decisions/0116). Accounts of before stay as they are, and count.

// skeletonVersion stands for the table of crypto/confusable that skeletons are made
// with, Unicode 17.0.0. It is a part of the rules of levelStatements: another table needs
// another feature level, another version, and an index of its own.
const skeletonVersion = 1

// nameSkeleton is what names are compared by. Names are in lower case, prototypes are
// not: 0 stands for O, which must meet o. Only ASCII is folded, by this code and no
// table of a Go release.
func nameSkeleton(name string) string {
	return foldASCII(confusable.Skeleton(foldASCII(confusable.Skeleton(name))))
}

func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// skeletonPrefix begins the keys of all names that look like this one.
func skeletonPrefix(name string) []byte {
	sum := sha256.Sum256([]byte(nameSkeleton(name)))
	return rowKey(tableSkeletons, []byte{skeletonVersion}, sum[:])
}

func skeletonKey(name string) []byte { return append(skeletonPrefix(name), name...) }

// looksLikeAnother reports whether another name that is taken, or held, looks the same.
func looksLikeAnother(st state, name string) (does bool) {
	prefix := skeletonPrefix(name)
	st.each(tableSkeletons, prefix, func(key, _ []byte) bool {
		does = string(key[len(prefix):]) != name
		return !does
	})
	return does
}

// indexedNames is how many names of before one timer brings into the index.
const indexedNames = 1024

// startIndexing brings the names of before into the index, some at a time.
func startIndexing(tx *Tx) { indexSoon(tx, nil) }

// indexSoon sets a timer that is due at once: the next expire entry runs it.
func indexSoon(tx *Tx, from []byte) {
	tx.setTimer(timerNames, from, max(tx.now(), bucketMs)-bucketMs)
}

// indexNames is the timer of names of before; from is the first one that is left.
func indexNames(tx *Tx, from []byte) {
	var names []string
	err := eachFrom(tx.reader(tableUsernames), rowKey(tableUsernames, from), []byte{byte(tableUsernames) + 1}, func(key, _ []byte) bool {
		names = append(names, string(key[1:]))
		return len(names) <= indexedNames
	})
	if err != nil {
		tx.fail(err)
	}
	if len(names) > indexedNames {
		indexSoon(tx, []byte(names[indexedNames]))
		names = names[:indexedNames]
	}
	for _, name := range names {
		tx.set(tableSkeletons, skeletonKey(name), nil)
	}
	tx.purged += uint64(len(names))
}
