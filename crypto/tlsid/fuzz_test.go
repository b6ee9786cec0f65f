package tlsid

import (
	"bytes"
	"crypto/x509"
	"net/url"
	"testing"
)

// No bytes make the sealed key's reader panic, and none but SealKey's open.
func FuzzOpenAuthority(f *testing.F) {
	a, kek := newTestAuthority(f), newTestKey(f)
	sealed, err := a.SealKey(kek)
	if err != nil {
		f.Fatal(err)
	}
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
	a := newTestAuthority(f)
	dir := f.TempDir()
	id := newTestIdentity(f, a, "n1", "host.example")
	if err := id.Save(dir); err != nil {
		f.Fatal(err)
	}
	node, err := readPrivate(dir, nodeFile)
	if err != nil {
		f.Fatal(err)
	}
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
	a := newTestAuthority(f)
	request, err := NewRequest(PeerID{Cluster: a.Cluster(), Node: "n4"}, []string{"host.example", "192.0.2.1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request.CSR())
	f.Add(request.CSR()[:100])
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
	f.Add(PeerID{Cluster: NewClusterID(), Node: "n1"}.String())
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
