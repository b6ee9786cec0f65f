package schemas

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// The code table is complete and in order: row i describes code i, every name
// is SCREAMING_SNAKE and unique, every row says what to do.
func TestCodeTableDescribesEveryCode(t *testing.T) {
	names := map[string]bool{}
	for i, doc := range Codes() {
		if int(doc.Code) != i {
			t.Errorf("row %d describes %s: rows must stand in order of number", i, doc.Code.ID())
		}
		if doc.Name != strings.ToUpper(doc.Name) || doc.Name == "" || names[doc.Name] {
			t.Errorf("%s: name %q must be upper case and unique", doc.Code.ID(), doc.Name)
		}
		names[doc.Name] = true
		if doc.Meaning == "" || doc.Hint == "" {
			t.Errorf("%s %s: meaning and hint must not be empty", doc.Code.ID(), doc.Name)
		}
	}
	if next := Code(len(Codes())); !strings.HasPrefix(next.String(), "Code(") && next.String() != "" {
		t.Errorf("code %s is declared and has no row", next)
	}
}

// Published codes keep their numbers.
func TestPublishedCodesKeepTheirNumbers(t *testing.T) {
	for id, code := range map[string]Code{
		"E012": Code_queueFull, "E022": Code_channelAccessDenied, "E023": Code_channelNotFound,
		"E029": Code_deviceLimit, "E030": Code_deviceNotFound,
		"E031": Code_unavailable, "E032": Code_unknownOutcome,
	} {
		if code.ID() != id {
			t.Errorf("%s has become %s", id, code.ID())
		}
	}
	if doc := Code(60000).Doc(); doc.Retry != Retry_never || doc.Name != "UNKNOWN_CODE" {
		t.Errorf("an unknown number must be told as such, got %+v", doc)
	}
}

func testEntry(tb testing.TB, body string) []byte {
	tb.Helper()
	msg, seg := NewMessage()
	entry, err := NewRootEntry(seg)
	if err != nil {
		tb.Fatal(err)
	}
	entry.SetVersion(EntryVersion)
	params, err := entry.Command().NewEnqueue()
	if err != nil {
		tb.Fatal(err)
	}
	if err := params.SetPayload([]byte(body)); err != nil {
		tb.Fatal(err)
	}
	frame, err := msg.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	return frame
}

// A sealed batch opens to the same stamp and entries.
func TestBatchRoundTrip(t *testing.T) {
	want := [][]byte{testEntry(t, "one"), testEntry(t, strings.Repeat("two", 1000)), testEntry(t, "three")}
	sealed, err := SealBatch(1234, want)
	if err != nil {
		t.Fatal(err)
	}
	at := FirstEntry(sealed, want)
	for i, entry := range want {
		if !bytes.HasPrefix(sealed[at:], entry) {
			t.Errorf("entry %d does not lie at %d, where FirstEntry and Padded say", i, at)
		}
		at += Padded(len(entry))
	}
	batch, err := OpenBatch(sealed)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := batch.Entries()
	if err != nil || entries.Len() != len(want) || batch.StampMs() != 1234 {
		t.Fatalf("got %d entries, stamp %d, %v; want %d, 1234", entries.Len(), batch.StampMs(), err, len(want))
	}
	for i := range want {
		if got, err := entries.At(i); err != nil || !bytes.Equal(got, want[i]) {
			t.Errorf("entry %d differs (%v)", i, err)
		}
	}
}

// A largest batch of the smallest entries and a single largest entry both seal
// and open: the traversal limit leaves room for them.
func TestBatchAtItsLimits(t *testing.T) {
	small := make([][]byte, MaxBatchEntries)
	for i := range small {
		small[i] = testEntry(t, "x")
	}
	for name, entries := range map[string][][]byte{
		"1024 small": small,
		"one large":  {testEntry(t, strings.Repeat("x", MaxEntry-1024))},
		"empty":      {},
	} {
		sealed, err := SealBatch(1, entries)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(sealed) > MaxEnvelope {
			t.Errorf("%s: %d bytes sealed, MaxEnvelope says %d", name, len(sealed), MaxEnvelope)
		}
		batch, err := OpenBatch(sealed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		list, err := batch.Entries()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range list.Len() {
			data, err := list.At(i)
			if err != nil {
				t.Fatalf("%s: entry %d: %v", name, i, err)
			}
			if _, err := EntryFrom(data); err != nil {
				t.Fatalf("%s: entry %d: %v", name, i, err)
			}
		}
	}
}

// One flipped bit anywhere in a log entry is noticed.
func TestEnvelopeNoticesEveryFlippedBit(t *testing.T) {
	sealed, err := SealBatch(7, [][]byte{testEntry(t, "payload")})
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[i/8] ^= 1 << (i % 8)
		if err := CheckEnvelope(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormatVersion) {
			t.Fatalf("bit %d flipped: got %v, want ErrCorrupt", i, err)
		}
	}
	for n := range sealed {
		if err := CheckEnvelope(sealed[:n]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: got %v, want ErrCorrupt", n, err)
		}
	}
}

// A frame arrives whole however the stream cuts it, and the next frame follows.
func TestReadFrameOverAnyCuts(t *testing.T) {
	one, two := testEntry(t, "one"), testEntry(t, strings.Repeat("2", 200_000))
	stream := append(bytes.Clone(one), two...)
	for name, r := range map[string]io.Reader{
		"whole":       bytes.NewReader(stream),
		"byte wise":   iotest.OneByteReader(bytes.NewReader(stream)),
		"with EOF":    iotest.DataErrReader(bytes.NewReader(stream)),
		"half chunks": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		var buf []byte
		for i, want := range [][]byte{one, two} {
			got, err := ReadFrame(r, MaxRequest, buf)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d differs (%v)", name, i, err)
			}
			buf = got
		}
		if _, err := ReadFrame(r, MaxRequest, buf); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last frame: got %v, want io.EOF", name, err)
		}
	}
}

// Bad frames get the error that says what is wrong, and allocate little.
func TestReadFrameRefuses(t *testing.T) {
	big := []byte{0, 0, 0, 0, 0, 0, 8, 0} // claims 4 MiB in one segment
	for _, c := range []struct {
		name  string
		input []byte
		want  error
	}{
		{"nothing", nil, io.EOF},
		{"half a header", []byte{0, 0, 0}, io.ErrUnexpectedEOF},
		{"header only", []byte{0, 0, 0, 0, 1, 0, 0, 0}, io.ErrUnexpectedEOF},
		{"over the limit", []byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}, ErrTooLarge},
		{"too many segments", []byte{0xff, 0xff, 0, 0, 0, 0, 0, 0}, ErrMalformed},
		{"segment count overflows", []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, ErrMalformed},
		{"claims much, sends nothing", big, io.ErrUnexpectedEOF},
	} {
		_, err := ReadFrame(bytes.NewReader(c.input), 8<<20, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	result := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ReadFrame(bytes.NewReader(big), 8<<20, nil)
		}
	})
	if got := result.AllocedBytesPerOp(); got > 2*frameGrain {
		t.Errorf("a header that claims 4 MiB made the reader allocate %d bytes, want at most %d", got, 2*frameGrain)
	}
}

// Random bytes never panic and never yield an entry that can't be walked.
func FuzzEntry(f *testing.F) {
	f.Add(testEntry(f, "hello"))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		entry, err := EntryFrom(frame)
		if err != nil {
			return
		}
		if entry.Command().Which() == Entry_command_Which_enqueue {
			if params, err := entry.Command().Enqueue(); err == nil {
				_, _ = params.Payload()
				_, _ = params.ChannelId()
			}
		}
	})
}

// Whatever bytes arrive, ReadFrame returns a frame that CheckFrame accepts or an error.
func FuzzReadFrame(f *testing.F) {
	f.Add(testEntry(f, "hello"))
	f.Add([]byte{1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, stream []byte) {
		frame, err := ReadFrame(bytes.NewReader(stream), 1<<20, nil)
		if err != nil {
			return
		}
		if err := CheckFrame(frame, 1<<20); err != nil {
			t.Fatalf("ReadFrame returned what CheckFrame refuses: %v", err)
		}
	})
}

// Any bytes as a log entry are refused or open to a batch that can be walked.
func FuzzOpenBatch(f *testing.F) {
	sealed, err := SealBatch(1, [][]byte{testEntry(f, "hello")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Fuzz(func(t *testing.T, data []byte) {
		batch, err := OpenBatch(data)
		if err != nil {
			return
		}
		entries, err := batch.Entries()
		if err != nil {
			return
		}
		for i := range entries.Len() {
			_, _ = entries.At(i)
		}
	})
}

func BenchmarkSealBatch(b *testing.B) {
	body := make([]byte, 1024)
	for i := range body {
		body[i] = byte(rand.Uint32())
	}
	entries := make([][]byte, 256)
	for i := range entries {
		entries[i] = testEntry(b, string(body))
	}
	b.ReportAllocs()
	for b.Loop() {
		sealed, err := SealBatch(1, entries)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := OpenBatch(sealed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}
