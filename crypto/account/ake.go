package account

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha512"
	"crypto/subtle"

	"github.com/gtank/ristretto255"
)

// The server's half of OPAQUE-3DH (RFC 9807 §6.3.2.2 and §6.4.4), in one pass
// over already checked input. docs/decisions/0050 says why it is not the
// library's GenerateKE2, which is the oracle of the tests.

// serverKey is the long-term AKE key pair.
type serverKey struct {
	secret   *ristretto255.Scalar
	public   [elementSize]byte
	identity string // server_identity: the public key; a vector may have another
}

// loginRequest is a parsed KE1.
type loginRequest struct {
	encoded  []byte // 96 bytes: blinded ‖ nonce ‖ keyshare
	blinded  *ristretto255.Element
	keyshare *ristretto255.Element
}

// serverRandom is what a server draws for one login. Tests fix it.
type serverRandom struct {
	maskingNonce [nonceSize]byte
	nonce        [nonceSize]byte
	keyshareSeed [nok]byte
}

// credential is what a server knows of the one who logs in.
type credential struct {
	record   *registration
	oprfKey  *ristretto255.Scalar
	identity string // client_identity: the canonical name
}

// generateKE2 returns KE2 (320 bytes) and the MAC that KE3 must equal. The
// session key is not derived: nothing on the server uses it.
func generateKE2(key *serverKey, context string, ke1 *loginRequest, c *credential, random *serverRandom) (ke2, clientMAC []byte) {
	ke2 = make([]byte, 0, LoginResponseSize)
	ke2 = append(ke2, ristretto255.NewIdentityElement().ScalarMult(c.oprfKey, ke1.blinded).Bytes()...)
	ke2 = append(ke2, random.maskingNonce[:]...)
	ke2 = appendMasked(ke2, key, c.record, random)
	ke2 = append(ke2, random.nonce[:]...)

	ephemeral := deriveScalar(random.keyshareSeed[:], infoDHKey)
	defer wipe(ephemeral)
	ke2 = append(ke2, ristretto255.NewIdentityElement().ScalarBaseMult(ephemeral).Bytes()...)

	ikm := tripleDH(key, ephemeral, ke1, c.record)
	defer clear(ikm)
	preamble := sha512.New()
	preamble.Write(appendPreamble(nil, key, context, ke1, c.identity, ke2))
	serverMAC, clientMAC := deriveMACs(ikm, preamble.Sum(nil), func(mac []byte) []byte {
		preamble.Write(mac)
		return preamble.Sum(nil)
	})
	return append(ke2, serverMAC...), clientMAC
}

// appendMasked appends masked_response (RFC 9807 §6.3.2.2).
func appendMasked(to []byte, key *serverKey, r *registration, random *serverRandom) []byte {
	pad := expand(r.maskingKey, string(random.maskingNonce[:])+maskingInfo, maskedSize)
	defer clear(pad)
	subtle.XORBytes(pad[:elementSize], pad[:elementSize], key.public[:])
	subtle.XORBytes(pad[elementSize:], pad[elementSize:], r.envelope)
	return append(to, pad...)
}

// tripleDH is TripleDHIKM of RFC 9807 §6.4.4, for the server.
func tripleDH(key *serverKey, ephemeral *ristretto255.Scalar, ke1 *loginRequest, r *registration) []byte {
	ikm := make([]byte, 0, 3*elementSize)
	for _, factor := range []struct {
		secret *ristretto255.Scalar
		public *ristretto255.Element
	}{
		{ephemeral, ke1.keyshare},
		{key.secret, ke1.keyshare},
		{ephemeral, r.publicKey},
	} {
		shared := ristretto255.NewIdentityElement().ScalarMult(factor.secret, factor.public)
		encoded := shared.Bytes()
		ikm = append(ikm, encoded...)
		clear(encoded)
		shared.Set(ristretto255.NewIdentityElement())
	}
	return ikm
}

// appendPreamble is Preamble of RFC 9807 §6.4.2.1; ke2 is complete but for the
// MAC.
func appendPreamble(to []byte, key *serverKey, context string, ke1 *loginRequest, identity string, ke2 []byte) []byte {
	to = append(to, "OPAQUEv1-"...)
	to = appendVector(to, context)
	to = appendVector(to, identity)
	to = append(to, ke1.encoded...)
	to = appendVector(to, key.identity)
	return append(to, ke2...)
}

// appendVector appends a value after its length in two bytes.
func appendVector(to []byte, v string) []byte {
	to = append(to, byte(len(v)>>8), byte(len(v)))
	return append(to, v...)
}

// deriveMACs is DeriveKeys of RFC 9807 §6.4.2.2 and the two MACs of §6.4.4.
// preamble is the hash of the preamble; with extends it by the server's MAC.
func deriveMACs(ikm, preamble []byte, with func(mac []byte) []byte) (serverMAC, clientMAC []byte) {
	prk, err := hkdf.Extract(sha512.New, ikm, nil)
	if err != nil {
		panic("extract from three group elements: " + err.Error())
	}
	defer clear(prk)
	handshake := expandLabel(prk, "HandshakeSecret", string(preamble))
	defer clear(handshake)
	serverKey := expandLabel(handshake, "ServerMAC", "")
	defer clear(serverKey)
	clientKey := expandLabel(handshake, "ClientMAC", "")
	defer clear(clientKey)
	serverMAC = mac(serverKey, preamble)
	return serverMAC, mac(clientKey, with(serverMAC))
}

// expandLabel is Expand-Label of RFC 9807 §6.4.2.2 with length Nx (64 bytes).
func expandLabel(secret []byte, label, context string) []byte {
	const prefix = "OPAQUE-"
	info := make([]byte, 0, 4+len(prefix)+len(label)+len(context))
	info = append(info, nh>>8, nh&0xff, byte(len(prefix)+len(label)))
	info = append(info, prefix...)
	info = append(info, label...)
	info = append(info, byte(len(context)))
	info = append(info, context...)
	return expand(secret, string(info), nh)
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha512.New, key)
	h.Write(message)
	return h.Sum(nil)
}
