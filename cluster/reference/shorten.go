package reference

import (
	"slices"

	"github.com/hashicorp/raft"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// Describe returns the Extensions of a log entry: which runs of its entries came
// from where. sealed is what schemas.SealBatch made of entries, and origins has one
// for each. nil means that nobody keeps any.
func Describe(sealed []byte, entries [][]byte, origins []Origin) []byte {
	var pieces []byte
	end := 0 // of the last piece
	at := schemas.FirstEntry(sealed, entries)
	for i := 0; i < len(entries); {
		run := piece{gap: at - end, node: string(origins[i].Node), forward: origins[i].Forward, first: origins[i].Index}
		for i < len(entries) && (run.count == 0 || run.follows(origins[i])) {
			padded := schemas.Padded(len(entries[i]))
			run.size += len(entries[i])
			run.count++
			at += padded
			i++
			if padded != len(entries[i-1]) {
				break
			}
		}
		if run.forward == 0 {
			continue
		}
		end += run.gap + run.size
		if pieces == nil {
			pieces = []byte{piecesVersion}
		}
		pieces = appendPiece(pieces, run)
	}
	return pieces
}

// follows tells whether an entry goes on where the run ends.
func (p piece) follows(o Origin) bool {
	return p.forward == o.Forward && p.node == string(o.Node) && (p.forward == 0 || o.Index == p.first+p.count)
}

// Shorten returns a log entry as it goes to a node: what that node keeps is left
// out of Data, and Extensions says where it belongs. Other entries lose their
// Extensions. log is not changed.
func Shorten(log *raft.Log, to tlsid.NodeID) *raft.Log {
	if len(log.Extensions) == 0 {
		return log
	}
	kept := func(p piece) bool { return p.node == string(to) }
	pieces, err := parsePieces(log.Extensions)
	if err != nil || !slices.ContainsFunc(pieces, kept) {
		return whole(log)
	}
	size := len(log.Data)
	for _, p := range pieces {
		if kept(p) {
			size -= p.size
		}
	}
	data := make([]byte, 0, max(size, 0))
	extensions := []byte{piecesVersion}
	at, done := 0, 0 // the end of the last piece, and of what data stands for
	for _, p := range pieces {
		begin := at + p.gap
		at = begin + p.size
		if at > len(log.Data) {
			return whole(log) // not ours
		}
		if !kept(p) {
			continue
		}
		data = append(data, log.Data[done:begin]...)
		p.gap = begin - done
		done = at
		extensions = appendPiece(extensions, p)
	}
	data = append(data, log.Data[done:]...)
	short := *log
	short.Data, short.Extensions = data, extensions
	return &short
}

// Whole returns log entries without references, in full. logs are not changed.
func Whole(logs []*raft.Log) []*raft.Log { return each(logs, whole) }

func whole(log *raft.Log) *raft.Log {
	if len(log.Extensions) == 0 {
		return log
	}
	plain := *log
	plain.Extensions = nil
	return &plain
}

// ShortenAll is Shorten for the entries of a request. short says whether any entry
// holds a reference now.
func ShortenAll(logs []*raft.Log, to tlsid.NodeID) (shortened []*raft.Log, short bool) {
	shortened = each(logs, func(log *raft.Log) *raft.Log {
		s := Shorten(log, to)
		short = short || len(s.Extensions) > 0
		return s
	})
	return shortened, short
}

// each maps logs, and returns them as they are when nothing changes.
func each(logs []*raft.Log, change func(*raft.Log) *raft.Log) []*raft.Log {
	var changed []*raft.Log
	for i, log := range logs {
		c := change(log)
		if c != log && changed == nil {
			changed = slices.Clone(logs)
		}
		if changed != nil {
			changed[i] = c
		}
	}
	if changed == nil {
		return logs
	}
	return changed
}
