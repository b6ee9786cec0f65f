package tlsid

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a node's and an authority's directory.
const (
	nodeFile         = "node.pem" // certificate and private key of the node, 0600
	authorityFile    = "ca.pem"   // CA certificates, public
	authorityKeyFile = "ca.key"   // the CA's private key, sealed under the cluster key, 0600
	privateMode      = 0o600
)

// Save writes key, certificate and authorities into a directory. Each file is
// replaced at once: after a crash the old or the new one is there, whole.
func (i *Identity) Save(dir string) error {
	c := i.current.Load()
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return fmt.Errorf("encode node key: %w", err)
	}
	defer clear(key)
	both := append(encodeCertificate(c.leaf), pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: key})...)
	defer clear(both)
	// Authorities first: a new leaf may need a new CA, an old leaf never loses
	// its CA before it is replaced (ReplaceAuthorities sees to that).
	if err := ReplaceFile(dir, authorityFile, i.AuthoritiesPEM()); err != nil {
		return err
	}
	return ReplaceFile(dir, nodeFile, both)
}

// Load reads what Save wrote. An expired certificate loads too: a node that
// holds the CA key renews it.
func Load(dir string) (*Identity, error) {
	bundle, err := readFile(dir, authorityFile)
	if err != nil {
		return nil, err
	}
	cluster, roots, err := parseAuthorities(bundle)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, authorityFile), err)
	}
	data, err := readPrivate(dir, nodeFile)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	c, err := parseNode(data, roots)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, nodeFile), err)
	}
	if c.peer.Cluster != cluster {
		return nil, fmt.Errorf("%s is of cluster %s, %s of %s: the directory mixes two clusters",
			filepath.Join(dir, nodeFile), c.peer.Cluster, authorityFile, cluster)
	}
	return newIdentity(c), nil
}

// parseNode reads one certificate and its key.
func parseNode(data []byte, roots []*x509.Certificate) (*credentials, error) {
	certs, key, err := parsePEM(data)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 || key == nil {
		return nil, errors.New("want one certificate and its private key")
	}
	c, err := newCredentials(key, certs[0], roots)
	if err != nil {
		return nil, err
	}
	// Whether it is still valid is the handshake's question; whose it is, is ours.
	if err := c.verify(c.leaf.NotBefore); err != nil {
		return nil, err
	}
	return c, nil
}

// Save writes the CA certificate and the sealed key into a directory.
func (a *Authority) Save(dir string, kek ClusterKey) error {
	sealed, err := a.SealKey(kek)
	if err != nil {
		return err
	}
	if err := ReplaceFile(dir, authorityFile, a.CertificatePEM()); err != nil {
		return err
	}
	return ReplaceFile(dir, authorityKeyFile, sealed)
}

// LoadAuthority reads what Authority.Save wrote.
func LoadAuthority(dir string, kek ClusterKey) (*Authority, error) {
	certificate, err := readFile(dir, authorityFile)
	if err != nil {
		return nil, err
	}
	sealed, err := readPrivate(dir, authorityKeyFile)
	if err != nil {
		return nil, err
	}
	a, err := OpenAuthority(certificate, sealed, kek)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, authorityKeyFile), err)
	}
	return a, nil
}

// LoadAuthorityWith is LoadAuthority for a key that may be sealed under any of several
// cluster keys: while one takes another's place.
func LoadAuthorityWith(dir string, keys []ClusterKey) (a *Authority, err error) {
	for _, kek := range keys {
		if a, err = LoadAuthority(dir, kek); !errors.Is(err, ErrSealedKey) {
			break
		}
	}
	return a, err
}

// ResealAuthority has the authority's key of a directory sealed under another cluster key,
// at once; a directory without one, or with one that is, stays as it is. keys are those
// under which it may be.
func ResealAuthority(dir string, keys []ClusterKey, to ClusterKey) error {
	_, err := LoadAuthority(dir, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	a, err := LoadAuthorityWith(dir, keys)
	if err != nil {
		return err
	}
	sealed, err := a.SealKey(to)
	if err != nil {
		return err
	}
	return ReplaceFile(dir, authorityKeyFile, sealed)
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read private file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s holds a key but has mode %#o: run chmod 600 %s", path, mode, path)
	}
	return readFile(dir, name)
}

func readFile(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxPEMLen+1))
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	if len(data) > maxPEMLen {
		return nil, fmt.Errorf("%s is larger than %d bytes", f.Name(), maxPEMLen)
	}
	return data, nil
}

// ReplaceFile replaces a file of secrets at once and for good: a temporary file of mode
// 0600, flushed, renamed, and the directory flushed.
func ReplaceFile(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, "."+name+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	if err := errors.Join(writeSync(f, data), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return SyncDirectory(dir)
}

func writeSync(f *os.File, data []byte) error {
	if err := f.Chmod(privateMode); err != nil {
		return fmt.Errorf("protect file: %w", err)
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("flush file: %w", err)
	}
	return nil
}

// SyncDirectory has what was made, renamed or removed in a directory stay so, whatever
// happens to the machine.
func SyncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("flush directory: %w", err)
	}
	return nil
}
