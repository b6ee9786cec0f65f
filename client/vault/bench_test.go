package vault

import (
	"testing"
)

// A small transaction, durable: the price of every step of the engine.
func BenchmarkUpdate(b *testing.B) {
	v := create(b)
	body := make([]byte, 300)
	for b.Loop() {
		update(b, v, insert(body))
	}
}

// 256 rows in a transaction, as when many messages wait.
func BenchmarkUpdate256(b *testing.B) {
	v := create(b)
	body := make([]byte, 300)
	for b.Loop() {
		update(b, v, func(tx *Tx) error {
			for range 256 {
				if err := insert(body)(tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	b.ReportMetric(256*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func insert(body []byte) func(*Tx) error {
	return func(tx *Tx) error {
		return tx.run("INSERT INTO note (text, body, at) VALUES ('', ?, 1)", body)
	}
}

// Reading one row by its id.
func BenchmarkView(b *testing.B) {
	v := create(b)
	update(b, v, insert(make([]byte, 300)))
	for b.Loop() {
		err := v.View(func(tx *Tx) error {
			_, err := tx.one("SELECT body FROM note WHERE id = ?", func(r *row) { _ = r.bytes(0) }, 1)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// Open and Close with a key that needs no Argon2id, and with a passphrase.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct {
		name string
		key  func() Key
	}{
		{"raw", func() Key { return testKey(1) }},
		{"passphrase", func() Key { return Passphrase([]byte("correct horse")) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			v := create(b)
			update(b, v, insert(make([]byte, 300)))
			if err := v.Rekey(c.key()); err != nil {
				b.Fatal(err)
			}
			_ = v.Close()
			for b.Loop() {
				v, err := withNotes.open(v.dir, c.key())
				if err != nil {
					b.Fatal(err)
				}
				_ = v.Close()
			}
		})
	}
}
