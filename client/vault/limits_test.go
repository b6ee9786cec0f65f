package vault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// hostileKeyFile is a key file with these parameters that nothing else is wrong with.
func hostileKeyFile(p argon2Params) keyFile {
	p.Salt = make([]byte, saltSize)
	return keyFile{
		Format: keyFileFormat, Version: keyFileVersion, Kind: kindPassphrase, Argon2id: &p,
		Nonce: make([]byte, chacha20poly1305.NonceSizeX), Wrapped: make([]byte, dataKeySize+chacha20poly1305.Overhead),
	}
}

// argon2Bounds are parameters at each limit and one beyond it.
var argon2Bounds = []struct {
	name string
	p    argon2Params
	ok   bool
}{
	{"usual", argon2Params{Time: argon2Time, Memory: argon2Memory, Lanes: argon2Lanes}, true},
	{"most memory", argon2Params{Time: 1, Memory: maxArgon2Memory, Lanes: 4}, true},
	{"a KiB more", argon2Params{Time: 1, Memory: maxArgon2Memory + 1, Lanes: 4}, false},
	{"all memory", argon2Params{Time: 1, Memory: 1<<32 - 1, Lanes: 4}, false},
	{"least memory", argon2Params{Time: 1, Memory: 8 * 4, Lanes: 4}, true},
	{"a KiB less", argon2Params{Time: 1, Memory: 8*4 - 1, Lanes: 4}, false},
	{"most passes", argon2Params{Time: maxArgon2Time, Memory: 64, Lanes: 4}, true},
	{"a pass more", argon2Params{Time: maxArgon2Time + 1, Memory: 64, Lanes: 4}, false},
	{"no pass", argon2Params{Time: 0, Memory: 64, Lanes: 4}, false},
	{"most lanes", argon2Params{Time: 1, Memory: 8 * maxArgon2Lanes, Lanes: maxArgon2Lanes}, true},
	{"a lane more", argon2Params{Time: 1, Memory: 8 * (maxArgon2Lanes + 1), Lanes: maxArgon2Lanes + 1}, false},
	{"no lane", argon2Params{Time: 1, Memory: 64, Lanes: 0}, false},
}

// A key file asks for as much as the limits say and no KiB more.
func TestArgon2Bounds(t *testing.T) {
	for _, c := range argon2Bounds {
		_, err := parseKeyFile(hostileKeyFile(c.p).encode())
		if c.ok && err != nil || !c.ok && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want accepted: %v", c.name, err, c.ok)
		}
	}
	for _, n := range []int{saltSize - 1, saltSize + 1} {
		k := hostileKeyFile(argon2Bounds[0].p)
		k.Argon2id.Salt = make([]byte, n)
		if _, err := parseKeyFile(k.encode()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("a salt of %d bytes: got %v, want ErrCorrupt", n, err)
		}
	}
	if _, err := parseKeyFile(make([]byte, maxKeyFile+1)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a file of %d bytes: got %v, want ErrCorrupt", maxKeyFile+1, err)
	}
}

// A stranger's backup has no memory made for what its header claims: neither Argon2id's
// nor the key file's nor the database's.
func TestHostileBackupHeader(t *testing.T) {
	header := func(keyFile []byte, claimed uint32, size uint64) []byte {
		b := binary.BigEndian.AppendUint32([]byte(backupMagic), claimed)
		return binary.BigEndian.AppendUint64(append(b, keyFile...), size)
	}
	good, large := hostileKeyFile(argon2Bounds[0].p).encode(), hostileKeyFile(argon2Params{Time: 1, Memory: 1<<32 - 1, Lanes: 4}).encode()
	justOver := hostileKeyFile(argon2Params{Time: 1, Memory: maxArgon2Memory + 1, Lanes: 4}).encode()
	for name, b := range map[string][]byte{
		"4 TiB for Argon2id":       header(large, uint32(len(large)), 1<<20),
		"a KiB too many":           header(justOver, uint32(len(justOver)), 1<<20),
		"a key file of 4 GiB":      header(good, 1<<32-1, 1<<20),
		"a key file a byte larger": header(good, maxKeyFile+1, 1<<20),
		"a database of 2^63":       header(good, uint32(len(good)), 1<<63),
		"a database a page larger": header(good, uint32(len(good)), maxBackupSize+blockSize),
		"half a page":              header(good, uint32(len(good)), blockSize/2),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := restore(filepath.Join(t.TempDir(), "vault"), b, Passphrase([]byte("correct horse")))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %v, want ErrCorrupt", name, err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
			t.Errorf("%s: %d MiB were allocated", name, took>>20)
		}
	}
}

// Whatever a call with a key ends in, the caller's secret is overwritten.
func TestSecretsAreOverwritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	secret := func() []byte { return bytes.Repeat([]byte{1}, rawKeySize) }
	check := func(what string, b []byte) {
		t.Helper()
		if !bytes.Equal(b, make([]byte, len(b))) {
			t.Errorf("%s: the secret is still there", what)
		}
	}
	b := secret()
	v, err := withNotes.create(dir, Raw(b))
	if err != nil {
		t.Fatal(err)
	}
	check("create", b)
	b = secret()
	var out bytes.Buffer
	if err := v.Export(&out, Raw(b), nil); err != nil {
		t.Fatal(err)
	}
	check("export", b)
	b = secret()
	if err := v.Rekey(Raw(b)); err != nil {
		t.Fatal(err)
	}
	check("rekey", b)
	dataKey := v.db.key
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	check("close: the data key", dataKey)
	b = bytes.Repeat([]byte{2}, rawKeySize)
	if _, err := withNotes.open(dir, Raw(b)); !errors.Is(err, ErrWrongKey) {
		t.Errorf("got %v, want ErrWrongKey", err)
	}
	check("open with a wrong key", b)
	b = []byte("correct horse")
	if _, err := withNotes.open(dir, Passphrase(b)); !errors.Is(err, ErrWrongKey) {
		t.Errorf("got %v, want ErrWrongKey", err)
	}
	check("open with a passphrase", b)
	b = secret()
	if err := restore(filepath.Join(t.TempDir(), "copy"), out.Bytes(), Raw(b)); err != nil {
		t.Fatal(err)
	}
	check("import", b)
	b = secret()
	if err := restore(filepath.Join(t.TempDir(), "none"), []byte("junk"), Raw(b)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v, want ErrCorrupt", err)
	}
	check("import of junk", b)
}
