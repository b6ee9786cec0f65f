package fsm

// What is gone from a queue, and why. A loss marker stands at the last sequence
// number of a stretch of envelopes that have ended, and names the first; its runs say
// why, in order. Each reader is told of what lies behind its own cursor, so sums would
// not do.

// run is a number of envelopes, one after another, that ended for one reason.
type run struct {
	reason byte
	count  uint64
}

// Reasons. Their numbers are part of the format; worse orders them.
const (
	runDropped   byte = iota + 1 // there was no room, or nobody knows any more
	runExpired                   // its time was over
	runEphemeral                 // its time was over, and it was of use at its time only
	runOverflow                  // its sender had used up its share
)

// worse returns that of two reasons which is the worse one to have been lost for.
func worse(a, b byte) byte {
	if rank(b) < rank(a) {
		return b
	}
	return a
}

// rank orders reasons by what they may have cost the reader: an overflow is its sender's
// affair, unlike what has expired, and more than what was ephemeral.
func rank(reason byte) int {
	switch reason {
	case runOverflow:
		return 3
	case runEphemeral:
		return 4
	}
	return int(reason)
}

const (
	runSize = 1 + 8
	// maxRuns bounds the runs of a marker, so that it stays a small row whoever sends
	// what: beyond them the two oldest become one, with the worse reason of both.
	maxRuns = 16
)

func encodeRuns(dst []byte, runs []run) {
	for i, r := range runs {
		dst[i*runSize] = r.reason
		le.PutUint64(dst[i*runSize+1:], r.count)
	}
}

func decodeRuns(src []byte) []run {
	runs := make([]run, len(src)/runSize)
	for i := range runs {
		runs[i] = run{src[i*runSize], le.Uint64(src[i*runSize+1:])}
	}
	return runs
}

// stretch is what a marker stands for: the envelopes from first to last. No runs mean
// that all of them were dropped.
type stretch struct {
	first, last uint64
	runs        []run
}

// stretchOf is what the marker at seq stands for.
func stretchOf(seq uint64, e *envelopeRow) stretch {
	s := stretch{first: e.first, last: seq, runs: append([]run(nil), e.runs...)}
	if len(s.runs) == 0 {
		s.runs = []run{{runDropped, seq - e.first + 1}}
	}
	return s
}

// ended is the stretch of one envelope.
func ended(seq uint64, reason byte) stretch {
	return stretch{first: seq, last: seq, runs: []run{{reason, 1}}}
}

// append adds the stretch that follows.
func (s *stretch) append(next stretch) {
	s.last = next.last
	for _, r := range next.runs {
		if n := len(s.runs); n > 0 && s.runs[n-1].reason == r.reason {
			s.runs[n-1].count += r.count
		} else {
			s.runs = append(s.runs, r)
		}
	}
	for len(s.runs) > maxRuns {
		a, b := s.runs[0], s.runs[1]
		s.runs = s.runs[1:]
		s.runs[0] = run{worse(a.reason, b.reason), a.count + b.count}
		if s.runs[0].reason == s.runs[1].reason {
			s.runs[1].count += s.runs[0].count
			s.runs = s.runs[1:]
		}
	}
}

// marker is the row of a stretch. One that knows no reasons has the old form.
func (s *stretch) marker(now uint64) envelopeRow {
	row := envelopeRow{kind: envelopeLoss, received: now, first: s.first}
	if len(s.runs) != 1 || s.runs[0].reason != runDropped {
		row.kind, row.runs = envelopeEnded, s.runs
	}
	return row
}

// isMarker reports whether the row stands for envelopes that are gone.
func (e *envelopeRow) isMarker() bool { return e.kind == envelopeLoss || e.kind == envelopeEnded }

// loss is what the marker at seq tells a reader who knows everything up to after.
func (e *envelopeRow) loss(seq, after uint64) Loss {
	l := Loss{First: max(e.first, after+1), Last: seq}
	l.Count = l.Last - l.First + 1
	from := e.first
	for _, r := range e.runs {
		end := from + r.count // the first number behind the run
		if end > l.First {
			n := end - max(from, l.First)
			switch r.reason {
			case runExpired:
				l.Expired += n
			case runEphemeral:
				l.Ephemeral += n
			case runOverflow:
				l.Overflow += n
			}
		}
		from = end
	}
	return l
}
