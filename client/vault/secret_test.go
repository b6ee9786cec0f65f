package vault

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	cipher "lukechampine.com/adiantum"
)

// plain decrypts a file of the vault as somebody with the key would.
func plain(t *testing.T, v *Vault, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(v.dir, name))
	if notExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	c := cipher.New(bytes.Clone(v.db.key))
	var tweak [8]byte
	for at := 0; at+blockSize <= len(raw); at += blockSize {
		binary.LittleEndian.PutUint64(tweak[:], uint64(at))
		c.Decrypt(raw[at:at+blockSize], tweak[:])
	}
	return raw
}

// holds tells in which files a text can be read with the key.
func holds(t *testing.T, v *Vault, text string) (database, log bool) {
	t.Helper()
	return bytes.Contains(plain(t, v, databaseFile), []byte(text)), bytes.Contains(plain(t, v, databaseFile+walSuffix), []byte(text))
}

const secret = "correcthorsebatterystaple"

// A deleted secret stays in the log until the log is cut: by Scrub, by Close, or by
// Update after walLimit pages. From then on it is in no file, and neither are the
// words of the full-text index.
func TestDeletedSecretVanishes(t *testing.T) {
	drop := func(v *Vault) {
		update(t, v, func(tx *Tx) error { return tx.run("DELETE FROM note WHERE text = ?", secret) })
	}
	ends := map[string]func(*Vault) *Vault{
		"scrub": func(v *Vault) *Vault {
			if err := v.Scrub(); err != nil {
				t.Fatal(err)
			}
			return v
		},
		"close": func(v *Vault) *Vault { return reopen(t, v) },
		"work": func(v *Vault) *Vault {
			for range walLimit {
				update(t, v, add("other"))
			}
			return v
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			v := create(t)
			update(t, v, add("neighbour"))
			update(t, v, add(secret))
			if err := v.Scrub(); err != nil {
				t.Fatal(err)
			}
			if database, _ := holds(t, v, secret); !database {
				t.Error("the test does not see the secret")
			}
			update(t, v, add("neighbour"))
			drop(v)
			v = end(v)
			if database, log := holds(t, v, secret); database || log {
				t.Error("still in the database:", database, "in the log:", log)
			}
		})
	}
}

// Nothing of the vault can be read in its files without the key, and SQLite is never
// told the key.
func TestNothingPlain(t *testing.T) {
	v := create(t)
	update(t, v, add(secret))
	check := func() {
		t.Helper()
		entries, err := os.ReadDir(v.dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			raw, err := os.ReadFile(filepath.Join(v.dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{secret, "SQLite format", "CREATE TABLE", "correcthorse"} {
				if bytes.Contains(raw, []byte(text)) {
					t.Errorf("%s can be read in %s", text, e.Name())
				}
			}
		}
	}
	check()
	if err := v.Scrub(); err != nil {
		t.Fatal(err)
	}
	check()
}
