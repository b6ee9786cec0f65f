package vault

import (
	"bufio"
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// A backup is
//
//	magic | uint32 length | key file | uint64 size of the database | pieces
//
// with numbers in big-endian order. A piece is up to pieceSize bytes of the plain
// database under XChaCha20-Poly1305; the nonce counts the pieces and marks the last,
// and all that comes before the pieces is authenticated with each. The stream's key
// is derived from the backup key that the key file wraps, and used for nothing else.
const (
	backupMagic   = "qpq-backup-1\n"
	backupFamily  = "qpq-backup-"
	pieceSize     = 64 << 10 // bytes, whole pages
	maxBackupSize = 1 << 46  // bytes: 64 TiB, what SQLite could hold at all is more
	streamInfo    = "quicproquo vault backup stream v1"
)

// pieces is what both directions have in common.
type pieces struct {
	aead   cipher.AEAD
	header []byte // the digest of what comes before the pieces
	next   uint64
}

func newPieces(backupKey, header []byte) (pieces, error) {
	key, err := hkdf.Key(sha256.New, backupKey, nil, streamInfo, chacha20poly1305.KeySize)
	if err != nil {
		return pieces{}, fmt.Errorf("derive key of backup: %w", err)
	}
	defer clear(key)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return pieces{}, err
	}
	digest := sha256.Sum256(header)
	return pieces{aead: aead, header: digest[:]}, nil
}

func (p *pieces) nonce(last bool) []byte {
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	binary.BigEndian.PutUint64(nonce, p.next)
	if last {
		nonce[8] = 1
	}
	p.next++
	return nonce
}

// sealer writes a backup.
type sealer struct {
	pieces
	w       io.Writer
	pending []byte
}

func newSealer(w io.Writer, file keyFile, size int64, backupKey []byte) (*sealer, error) {
	encoded := file.encode()
	header := []byte(backupMagic)
	header = binary.BigEndian.AppendUint32(header, uint32(len(encoded)))
	header = append(header, encoded...)
	header = binary.BigEndian.AppendUint64(header, uint64(size))
	p, err := newPieces(backupKey, header)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(header); err != nil {
		return nil, err
	}
	return &sealer{pieces: p, w: w, pending: make([]byte, 0, pieceSize)}, nil
}

func (s *sealer) write(page []byte) error {
	if len(s.pending) == pieceSize {
		if err := s.flush(false); err != nil {
			return err
		}
	}
	s.pending = append(s.pending, page...)
	return nil
}

func (s *sealer) flush(last bool) error {
	_, err := s.w.Write(s.aead.Seal(nil, s.nonce(last), s.pending, s.header))
	clear(s.pending)
	s.pending = s.pending[:0]
	return err
}

// close writes the last piece: without it the backup is known to be cut off.
func (s *sealer) close() error { return s.flush(true) }

// unsealer reads a backup.
type unsealer struct {
	pieces
	r       *bufio.Reader
	size    int64 // of the database
	left    int64 // not read from r yet
	pending []byte
}

func newUnsealer(r io.Reader, key Key) (*unsealer, error) {
	u := &unsealer{r: bufio.NewReaderSize(r, pieceSize+chacha20poly1305.Overhead)}
	file, header, err := u.readHeader()
	if err != nil {
		return nil, err
	}
	backupKey, err := key.unwrap(file)
	if err != nil {
		return nil, err
	}
	defer clear(backupKey)
	u.pieces, err = newPieces(backupKey, header)
	return u, err
}

func (u *unsealer) readHeader() (keyFile, []byte, error) {
	var header bytes.Buffer
	r := io.TeeReader(u.r, &header)
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(r, magic); err != nil || !bytes.HasPrefix(magic, []byte(backupFamily)) {
		return keyFile{}, nil, errors.Join(fmt.Errorf("%w: this is no backup of a vault", ErrCorrupt), realError(err))
	}
	if string(magic) != backupMagic {
		return keyFile{}, nil, fmt.Errorf("%w: the backup has another format", ErrNewer)
	}
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return keyFile{}, nil, cutOff(err)
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxKeyFile {
		return keyFile{}, nil, fmt.Errorf("%w: the backup's key file is too long", ErrCorrupt)
	}
	encoded := make([]byte, n)
	if _, err := io.ReadFull(r, encoded); err != nil {
		return keyFile{}, nil, cutOff(err)
	}
	file, err := parseKeyFile(encoded)
	if err != nil {
		return keyFile{}, nil, err
	}
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return keyFile{}, nil, cutOff(err)
	}
	total := binary.BigEndian.Uint64(size[:])
	if total == 0 || total%blockSize != 0 || total > maxBackupSize {
		return keyFile{}, nil, fmt.Errorf("%w: the backup's size", ErrCorrupt)
	}
	u.size, u.left = int64(total), int64(total)
	return file, header.Bytes(), nil
}

// read returns the next page; it is valid until the next call.
func (u *unsealer) read() ([]byte, error) {
	if len(u.pending) == 0 {
		if err := u.fill(); err != nil {
			return nil, err
		}
	}
	page := u.pending[:blockSize]
	u.pending = u.pending[blockSize:]
	return page, nil
}

func (u *unsealer) fill() error {
	size := min(u.left, pieceSize)
	u.left -= size
	sealed := make([]byte, size+chacha20poly1305.Overhead)
	if _, err := io.ReadFull(u.r, sealed); err != nil {
		return cutOff(err)
	}
	plain, err := u.aead.Open(sealed[:0], u.nonce(u.left == 0), sealed, u.header)
	if err != nil {
		return fmt.Errorf("%w: the backup was altered", ErrCorrupt)
	}
	u.pending = plain
	return nil
}

// close finds out whether the backup ends where it should.
func (u *unsealer) close() error {
	_, err := u.r.ReadByte()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return errors.Join(fmt.Errorf("%w: the backup has something after its end", ErrCorrupt), err)
}

func cutOff(err error) error {
	if realError(err) != nil {
		return fmt.Errorf("read backup: %w", err)
	}
	return fmt.Errorf("%w: the backup is cut off", ErrCorrupt)
}

// realError is nil for the end of the input.
func realError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
