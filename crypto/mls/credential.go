package mls

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"quicproquo/crypto/mls/rule"
	"quicproquo/crypto/mls/tree"
	"quicproquo/crypto/suite"
)

// BasicAuth accepts basic credentials as they are and lets a member keep only its own
// identity. Who stands behind an identity is then known to the application alone.
type BasicAuth struct{}

// Validate implements Authenticator.
func (BasicAuth) Validate(c tree.Credential, _ suite.SignaturePublicKey, _ time.Time) error {
	if c.Type != tree.CredentialBasic {
		return fmt.Errorf("credential type %d is not basic: configure an Authenticator for it", c.Type)
	}
	return nil
}

// Successor implements Authenticator.
func (BasicAuth) Successor(old, next tree.Credential) error {
	if !old.Equal(next) {
		return errors.New("the identity changed")
	}
	return nil
}

// X509Auth accepts X.509 credentials whose chain leads to a root, and, if Basic is set,
// basic ones as BasicAuth does. A successor must have the same subject.
type X509Auth struct {
	Roots *x509.CertPool
	Basic bool
}

// Validate implements Authenticator.
func (a X509Auth) Validate(c tree.Credential, key suite.SignaturePublicKey, now time.Time) error {
	if c.Type == tree.CredentialBasic && a.Basic {
		return BasicAuth{}.Validate(c, key, now)
	}
	if c.Type != tree.CredentialX509 {
		return fmt.Errorf("credential type %d is not X.509", c.Type)
	}
	end, err := endEntity(c)
	if err != nil {
		return err
	}
	between := x509.NewCertPool()
	for _, der := range c.Certificates[1:] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("parse intermediate certificate: %w", err)
		}
		between.AddCert(cert)
	}
	if a.Roots == nil {
		return errors.New("no root certificates are configured")
	}
	_, err = end.Verify(x509.VerifyOptions{
		Roots: a.Roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return fmt.Errorf("verify certificate chain: %w", err)
	}
	return nil
}

// Successor implements Authenticator.
func (a X509Auth) Successor(old, next tree.Credential) error {
	if old.Type != next.Type {
		return errors.New("the credential type changed")
	}
	if old.Type == tree.CredentialBasic {
		return BasicAuth{}.Successor(old, next)
	}
	was, err := endEntity(old)
	if err != nil {
		return err
	}
	is, err := endEntity(next)
	if err != nil {
		return err
	}
	if !bytes.Equal(was.RawSubject, is.RawSubject) {
		return errors.New("the certificate's subject changed")
	}
	return nil
}

func endEntity(c tree.Credential) (*x509.Certificate, error) {
	if len(c.Certificates) == 0 {
		return nil, errors.New("the credential has no certificate")
	}
	cert, err := x509.ParseCertificate(c.Certificates[0])
	if err != nil {
		return nil, fmt.Errorf("parse end-entity certificate: %w", err)
	}
	return cert, nil
}

// checkCertificateKey checks that the end-entity certificate has the leaf's signature
// key (RFC 9420 §5.3). The BIT STRING of a SubjectPublicKeyInfo is exactly MLS's encoding
// for EdDSA and for uncompressed ECDSA points.
func checkCertificateKey(l *tree.LeafNode) error {
	cert, err := endEntity(l.Credential)
	if err != nil {
		return rule.Because(rule.LeafCertificateKey, err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(cert.RawSubjectPublicKeyInfo, &info); err != nil {
		return rule.Because(rule.LeafCertificateKey, err)
	}
	if !bytes.Equal(info.Key.RightAlign(), l.SignatureKey) {
		return rule.Break(rule.LeafCertificateKey, "the keys differ")
	}
	return nil
}
