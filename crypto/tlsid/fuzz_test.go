package tlsid

import (
	"bytes"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// fixture reads testdata: an authority sealed under the key 00 01 … 1f, a node
// and a request it could sign. They are fixed so that every fuzzing process
// means the same by its inputs.
func fixture(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func fixtureAuthority(tb testing.TB) (*Authority, ClusterKey) {
	tb.Helper()
	var kek ClusterKey
	for i := range kek {
		kek[i] = byte(i)
	}
	a, err := OpenAuthority(fixture(tb, authorityFile), fixture(tb, authorityKeyFile), kek)
	if err != nil {
		tb.Fatal(err)
	}
	return a, kek
}

// No bytes make the sealed key's reader panic, and none but SealKey's open.
// The fixture also holds the format: a blob sealed once opens for ever.
func FuzzOpenAuthority(f *testing.F) {
	a, kek := fixtureAuthority(f)
	sealed := fixture(f, authorityKeyFile)
	f.Add(a.CertificatePEM(), sealed)
	f.Add(a.CertificatePEM(), sealed[:sealHeader])
	f.Add([]byte(nil), []byte(sealMagic))
	f.Fuzz(func(t *testing.T, certificate, blob []byte) {
		opened, err := OpenAuthority(certificate, blob, kek)
		if err == nil && (!opened.key.Equal(a.key) || !bytes.Equal(blob, sealed)) {
			t.Fatal("a blob nobody sealed opened")
		}
	})
}

// No file makes the loaders panic; what loads is whole.
func FuzzLoadPEM(f *testing.F) {
	a, _ := fixtureAuthority(f)
	node := fixture(f, nodeFile)
	f.Add(node)
	f.Add(node[:len(node)/2])
	f.Add(a.CertificatePEM())
	f.Add(append(a.CertificatePEM(), node...))
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := parseNode(data, []*x509.Certificate{a.cert}); err == nil && c.peer.Node.Validate() != nil {
			t.Fatalf("loaded a node named %q", c.peer.Node)
		}
		if _, certs, err := parseAuthorities(data); err == nil && len(certs) == 0 {
			t.Fatal("loaded an empty bundle")
		}
	})
}

// No request makes the authority panic or sign for another node.
func FuzzIssueRequest(f *testing.F) {
	a, _ := fixtureAuthority(f)
	request := fixture(f, "request.der")
	f.Add(request)
	f.Add(request[:100])
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := a.IssueRequest(der, "n4", testNow)
		if err != nil {
			return
		}
		if peer, err := peerOfCertificate(leaf); err != nil || peer.Node != "n4" || peer.Cluster != a.Cluster() {
			t.Fatalf("signed a certificate for %v (%v)", peer, err)
		}
	})
}

// A URI that reads as a node writes as exactly itself.
func FuzzPeerURI(f *testing.F) {
	f.Add(PeerID{Node: "n1"}.String())
	f.Add("qpq://00000000000000000000000000000000/node/n1?x#y")
	f.Add("qpq://user@00000000000000000000000000000000:1/node/%6e1")
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		if peer, err := parsePeerURI(u); err == nil && peer.String() != u.String() {
			t.Fatalf("%q read as %v", s, peer)
		}
	})
}
