package tlsid

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func newTestKey(tb testing.TB) ClusterKey {
	tb.Helper()
	var k ClusterKey
	if _, err := rand.Read(k[:]); err != nil {
		tb.Fatal(err)
	}
	return k
}

// A sealed authority key opens with its cluster key only, and no changed or
// missing bit goes unnoticed.
func TestSealedKey(t *testing.T) {
	a, kek := newTestAuthority(t), newTestKey(t)
	sealed, err := a.SealKey(kek)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := OpenAuthority(a.CertificatePEM(), sealed, kek)
	if err != nil {
		t.Fatal(err)
	}
	if !opened.key.Equal(a.key) || opened.Cluster() != a.Cluster() {
		t.Fatal("opened authority differs from the sealed one")
	}
	if _, err := OpenAuthority(a.CertificatePEM(), sealed, newTestKey(t)); !errors.Is(err, ErrSealedKey) {
		t.Errorf("wrong cluster key: %v, expected ErrSealedKey", err)
	}
	if _, err := OpenAuthority(newTestAuthority(t).CertificatePEM(), sealed, kek); err == nil {
		t.Error("key opened for the certificate of another cluster")
	}
	other, err := NewAuthority(a.Cluster(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAuthority(other.CertificatePEM(), sealed, kek); err == nil {
		t.Error("key opened for another certificate of the same cluster")
	}
	for i := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := OpenAuthority(a.CertificatePEM(), flipped, kek); err == nil {
			t.Fatalf("key opened with bit %d flipped", i)
		}
	}
	for n := range sealed {
		if _, err := OpenAuthority(a.CertificatePEM(), sealed[:n], kek); err == nil {
			t.Fatalf("key opened from its first %d bytes", n)
		}
	}
	newer := bytes.Clone(sealed)
	newer[len(sealMagic)]++
	if _, err := OpenAuthority(a.CertificatePEM(), newer, kek); err == nil || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("newer version: %v, expected advice to upgrade", err)
	}
}

// A cluster key never shows itself when printed.
func TestClusterKeyIsRedacted(t *testing.T) {
	kek := newTestKey(t)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", slog.Any("kek", kek))
	for _, s := range []string{log.String(), fmt.Sprint(kek), fmt.Sprintf("%v %+v %#v %s", kek, kek, kek, kek)} {
		if !strings.Contains(s, "[redacted]") || strings.Contains(s, fmt.Sprint(kek[0], " ", kek[1])) {
			t.Errorf("cluster key prints as %q", s)
		}
	}
}

// The authority signs only what the caller allows, and says why not.
func TestIssue(t *testing.T) {
	a := newTestAuthority(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		node   NodeID
		key    *ecdsa.PublicKey
		hosts  []string
		refuse string
	}{
		{name: "plain", node: "n1", key: &key.PublicKey, hosts: []string{"host_1.example", "2001:db8::1", "UPPER.example"}},
		{name: "bad node id", node: "n1/../n2", key: &key.PublicKey, refuse: "node id"},
		{name: "other curve", node: "n1", key: &p384.PublicKey, refuse: "P-256"},
		{name: "no key", node: "n1", refuse: "P-256"},
		{name: "host with port", node: "n1", key: &key.PublicKey, hosts: []string{"host:4433"}, refuse: "without a port"},
		{name: "empty host", node: "n1", key: &key.PublicKey, hosts: []string{""}, refuse: "DNS name"},
		{name: "too many hosts", node: "n1", key: &key.PublicKey, hosts: make([]string, maxHosts+1), refuse: "at most 16"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leaf, err := a.Issue(tt.node, tt.key, tt.hosts, testNow)
			if tt.refuse != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refuse) {
					t.Fatalf("issued with error %v, expected %q", err, tt.refuse)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if peer, err := peerOfCertificate(leaf); err != nil || peer.Node != tt.node {
				t.Fatalf("certificate names %v (%v), expected %s", peer, err, tt.node)
			}
		})
	}
}

// A request is honoured for the node it was made for, nobody else.
func TestRequest(t *testing.T) {
	a := newTestAuthority(t)
	request, err := NewRequest(PeerID{Cluster: a.Cluster(), Node: "n4"}, []string{"host.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.IssueRequest(request.CSR(), "n5", testNow); err == nil {
		t.Error("request of n4 honoured for n5")
	}
	if _, err := newTestAuthority(t).IssueRequest(request.CSR(), "n4", testNow); err == nil {
		t.Error("request honoured by another cluster's CA")
	}
	forged := bytes.Clone(request.CSR())
	forged[len(forged)-1] ^= 1
	if _, err := a.IssueRequest(forged, "n4", testNow); err == nil {
		t.Error("request without proof of possession honoured")
	}
	if _, err := a.IssueRequest(make([]byte, maxRequestLen+1), "n4", testNow); err == nil {
		t.Error("oversized request read")
	}
	leaf, err := a.IssueRequest(request.CSR(), "n4", testNow)
	if err != nil {
		t.Fatal(err)
	}
	other := newTestIdentity(t, a, "n4")
	if _, err := request.Identity(other.Leaf().Raw, a.CertificatePEM(), testNow); err == nil {
		t.Error("certificate for another key taken")
	}
	id, err := request.Identity(leaf.Raw, a.CertificatePEM(), testNow)
	if err != nil {
		t.Fatal(err)
	}
	if id.Peer().Node != "n4" || id.Leaf().DNSNames[1] != "host.example" {
		t.Errorf("identity is %v with names %v", id.Peer(), id.Leaf().DNSNames)
	}
	if err := id.Install(request, newTestIdentity(t, a, "n1").Leaf().Raw, testNow); err == nil {
		t.Error("certificate of another node installed")
	}
	if id.Leaf().SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Error("a refused certificate replaced the old one")
	}
}

// What Save writes, Load reads; private files are 0600, wider ones are refused
// with the command that helps, and no temporary file stays.
func TestFiles(t *testing.T) {
	dir, kek := t.TempDir(), newTestKey(t)
	a := newTestAuthority(t)
	id := newTestIdentity(t, a, "n1", "host.example")
	if err := errors.Join(a.Save(dir, kek), id.Save(dir)); err != nil {
		t.Fatal(err)
	}
	if err := id.Renew(a, testNow); err != nil {
		t.Fatal(err)
	}
	if err := id.Save(dir); err != nil { // over the old files
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, entry.Name())
		if info.Mode().Perm() != privateMode {
			t.Errorf("%s has mode %#o, expected 0600", entry.Name(), info.Mode().Perm())
		}
	}
	if got := strings.Join(names, " "); got != "ca.key ca.pem node.pem" {
		t.Errorf("directory holds %s", got)
	}
	loaded, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !loaded.Leaf().Equal(id.Leaf()) || !loaded.current.Load().key.Equal(id.current.Load().key) {
		t.Error("loaded identity differs from the saved one")
	}
	if _, err := LoadAuthority(dir, kek); err != nil {
		t.Error(err)
	}
	for _, name := range []string{nodeFile, authorityKeyFile} {
		if err := os.Chmod(filepath.Join(dir, name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable key loaded: %v", err)
	}
	if _, err := LoadAuthority(dir, kek); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable authority key loaded: %v", err)
	}
}

// A damaged directory is refused with the file's name and without its content.
func TestLoadRefusesDamage(t *testing.T) {
	a := newTestAuthority(t)
	for name, damage := range map[string]func(dir string) error{
		"truncated node file":   func(dir string) error { return os.Truncate(filepath.Join(dir, nodeFile), 400) },
		"empty node file":       func(dir string) error { return os.Truncate(filepath.Join(dir, nodeFile), 0) },
		"huge node file":        func(dir string) error { return os.Truncate(filepath.Join(dir, nodeFile), maxPEMLen+1) },
		"missing node file":     func(dir string) error { return os.Remove(filepath.Join(dir, nodeFile)) },
		"node of another CA":    func(dir string) error { return newTestIdentity(t, newTestAuthority(t), "n1").Save(dir) },
		"missing authorities":   func(dir string) error { return os.Remove(filepath.Join(dir, authorityFile)) },
		"truncated authorities": func(dir string) error { return os.Truncate(filepath.Join(dir, authorityFile), 300) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := newTestIdentity(t, a, "n1").Save(dir); err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if name == "node of another CA" { // its CA file is put back
				if err := ReplaceFile(dir, authorityFile, a.CertificatePEM()); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(dir)
			if err == nil || !strings.Contains(err.Error(), dir) {
				t.Fatalf("loaded with error %v, expected one that names the file", err)
			}
			if strings.Contains(err.Error(), "BEGIN") {
				t.Fatalf("error repeats the file: %v", err)
			}
		})
	}
}

// Ids have one spelling.
func TestIDs(t *testing.T) {
	for s, ok := range map[string]bool{
		"n1": true, "0-a": true, strings.Repeat("a", 63): true,
		"": false, "-a": false, "N1": false, "a.b": false, "a/b": false, "ä": false, strings.Repeat("a", 64): false,
	} {
		if _, err := ParseNodeID(s); (err == nil) != ok {
			t.Errorf("ParseNodeID(%q): %v", s, err)
		}
	}
	id := NewClusterID()
	if got, err := ParseClusterID(id.String()); err != nil || got != id {
		t.Errorf("cluster id %v came back as %v (%v)", id, got, err)
	}
	for _, s := range []string{"", id.String()[1:], strings.ToUpper(id.String()[:31]) + "A", strings.Repeat("g", 32)} {
		if _, err := ParseClusterID(s); err == nil {
			t.Errorf("ParseClusterID(%q) went through", s)
		}
	}
}
