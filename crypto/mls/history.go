package mls

import (
	"fmt"
	"slices"

	"quicproquo/crypto/codec"
	"quicproquo/crypto/mls/tree"
)

// history knows who was a member in each epoch whose resumption PSK is kept, for a branch
// names its members by that epoch (RFC 9420 §12.4.3.1). It holds changes only: a
// credential for each member who has left or changed since the oldest of these epochs,
// and a number for each who has come. An immutable value.
type history struct {
	known uint64                    // the first epoch whose members are known
	since map[tree.LeafIndex]uint64 // when the present credential came, if after known
	past  []span                    // of credentials that are not there any more, oldest end first
}

// span is a credential with the first and the last epoch in which it was a member's.
type span struct {
	from, to   uint64
	credential tree.Credential
}

// newHistory begins where nothing before is known: with a group that is founded or joined.
func newHistory(epoch uint64) *history { return &history{known: epoch} }

// next is the history in the epoch after that of before, whose tree is after. What ended
// before the epoch oldest is dropped.
func (h *history) next(before, after *PublicGroup, oldest uint64) *history {
	if h == nil { // loaded from a state that kept none
		h = newHistory(before.context.Epoch)
	}
	out := &history{known: max(h.known, oldest), since: map[tree.LeafIndex]uint64{}}
	for _, s := range h.past {
		if s.to >= oldest {
			out.past = append(out.past, s)
		}
	}
	for i, l := range before.tree.Members {
		from := max(h.from(i), h.known)
		if now := after.tree.Leaf(i); now != l && (now == nil || !now.Credential.Equal(l.Credential)) {
			out.past = append(out.past, span{from, before.context.Epoch, l.Credential})
		} else if from > out.known {
			out.since[i] = from
		}
	}
	for i, l := range after.tree.Members {
		if was := before.tree.Leaf(i); was != l && (was == nil || !was.Credential.Equal(l.Credential)) {
			out.since[i] = after.context.Epoch
		}
	}
	return out
}

func (h *history) from(i tree.LeafIndex) uint64 { return h.since[i] }

// members returns the credentials of an epoch's members, in no order; ok is false if they
// are not known. p is the present group.
func (h *history) members(p *PublicGroup, epoch uint64) (list []tree.Credential, ok bool) {
	if h == nil {
		h = newHistory(p.context.Epoch)
	}
	if epoch < h.known || epoch > p.context.Epoch {
		return nil, false
	}
	for i, l := range p.tree.Members {
		if h.from(i) <= epoch {
			list = append(list, l.Credential)
		}
	}
	for _, s := range h.past {
		if s.from <= epoch && epoch <= s.to {
			list = append(list, s.credential)
		}
	}
	return list, true
}

// appendTo appends the state encoding; nothing for none, as older versions wrote it.
func (h *history) appendTo(b []byte) []byte {
	if h == nil {
		return b
	}
	leaves := make([]tree.LeafIndex, 0, len(h.since))
	for i := range h.since {
		leaves = append(leaves, i)
	}
	slices.Sort(leaves)
	b = codec.Vector(codec.Uint64(b, h.known), func(b []byte) []byte {
		for _, i := range leaves {
			b = codec.Uint64(codec.Uint32(b, uint32(i)), h.since[i])
		}
		return b
	})
	return codec.Vector(b, func(b []byte) []byte {
		for _, s := range h.past {
			b = s.credential.AppendTo(codec.Uint64(codec.Uint64(b, s.from), s.to))
		}
		return b
	})
}

// readHistory decodes the state encoding, which is the last part of what is stored.
func readHistory(p *PublicGroup, r *codec.Reader) *history {
	if !r.More() {
		return nil
	}
	h := &history{known: r.Uint64(), since: map[tree.LeafIndex]uint64{}}
	v, next := r.Vector(), uint64(0)
	for v.More() {
		i, since := tree.LeafIndex(v.Uint32()), v.Uint64()
		if uint64(i) < next || p.tree.Leaf(i) == nil || since <= h.known || since > p.context.Epoch {
			v.Fail(fmt.Errorf("leaf %d since epoch %d: %w", i, since, codec.ErrValue))
			break
		}
		next = uint64(i) + 1 // one encoding for each state: leaves stand in order
		h.since[i] = since
	}
	r.Done(v)
	h.past = codec.List(r, func(r *codec.Reader) span { return span{r.Uint64(), r.Uint64(), tree.ReadCredential(r)} })
	for i, s := range h.past {
		if s.from > s.to || s.to >= p.context.Epoch || i > 0 && s.to < h.past[i-1].to {
			r.Fail(fmt.Errorf("a member from epoch %d to %d: %w", s.from, s.to, codec.ErrValue))
		}
	}
	if h.known > p.context.Epoch {
		r.Fail(fmt.Errorf("members known from epoch %d: %w", h.known, codec.ErrValue))
	}
	return h
}
