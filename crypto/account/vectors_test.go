package account

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/bytemare/ecc"
	"github.com/bytemare/opaque"
	"github.com/gtank/ristretto255"
)

// vector is one of RFC 9807's, Appendix C. All values are hexadecimal.
type vector struct {
	Config struct {
		Context, Fake, Group string
	}
	Inputs, Intermediates, Outputs map[string]string
}

func (v *vector) in(t *testing.T, name string) []byte { t.Helper(); return unhex(t, v.Inputs[name]) }

func (v *vector) mid(t *testing.T, name string) []byte {
	t.Helper()
	return unhex(t, v.Intermediates[name])
}

func (v *vector) out(t *testing.T, name string) []byte { t.Helper(); return unhex(t, v.Outputs[name]) }

// unhex returns nil for a value that the vector does not have.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if s == "" {
		return nil
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatalf("read vector: %v", err)
	}
	return b
}

const (
	vectorsTotal      = 9
	vectorsRistretto  = 3 // for our half of the server: two real, one fake
	vectorsForLibrary = 6 // ristretto255 and P-256; the library has no curve25519
)

// Our half of the server gives RFC 9807's bytes for every ristretto255 vector.
func TestVectorsServer(t *testing.T) {
	ran := 0
	for _, v := range readVectors(t) {
		if v.Config.Group != "ristretto255" {
			continue
		}
		ran++
		if v.Config.Fake == "True" {
			checkServerLogin(t, &v, v.in(t, "KE1"), fakeUpload(t, &v))
			continue
		}
		checkServerRegistration(t, &v)
		mac := checkServerLogin(t, &v, v.out(t, "KE1"), v.out(t, "registration_upload"))
		equal(t, "KE3", mac, v.out(t, "KE3"))
	}
	if ran != vectorsRistretto {
		t.Errorf("ran %d vectors, want %d", ran, vectorsRistretto)
	}
	t.Logf("%d of %d vectors", ran, vectorsTotal)
}

func checkServerRegistration(t *testing.T, v *vector) {
	t.Helper()
	key := vectorOPRFKey(t, v)
	equal(t, "oprf_key", key.Bytes(), v.mid(t, "oprf_key"))
	blinded, err := decodeElement(v.out(t, "registration_request"))
	if err != nil {
		t.Fatal(err)
	}
	response := append(blinded.ScalarMult(key, blinded).Bytes(), v.in(t, "server_public_key")...)
	equal(t, "registration_response", response, v.out(t, "registration_response"))
	if _, err := decodeRegistration(v.out(t, "registration_upload")); err != nil {
		t.Errorf("registration_upload: %v", err)
	}
}

func checkServerLogin(t *testing.T, v *vector, request, upload []byte) (clientMAC []byte) {
	t.Helper()
	ke1, err := decodeLoginRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	registered, err := decodeRegistration(upload)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ristretto255.NewScalar().SetCanonicalBytes(v.in(t, "server_private_key"))
	if err != nil {
		t.Fatal(err)
	}
	key := &serverKey{secret: secret, public: [32]byte(v.in(t, "server_public_key"))}
	key.identity = orElse(v.in(t, "server_identity"), key.public[:])
	c := &credential{record: registered, oprfKey: vectorOPRFKey(t, v), identity: orElse(v.in(t, "client_identity"), upload[:elementSize])}
	random := &serverRandom{
		maskingNonce: [32]byte(v.in(t, "masking_nonce")),
		nonce:        [32]byte(v.in(t, "server_nonce")),
		keyshareSeed: [32]byte(v.in(t, "server_keyshare_seed")),
	}
	ke2, mac := generateKE2(key, string(unhex(t, v.Config.Context)), ke1, c, random)
	equal(t, "KE2", ke2, v.out(t, "KE2"))
	return mac
}

// vectorOPRFKey is oprfKey for an identifier of another length than ours.
func vectorOPRFKey(t *testing.T, v *vector) *ristretto255.Scalar {
	t.Helper()
	return deriveScalar(expand(v.in(t, "oprf_seed"), string(v.in(t, "credential_identifier"))+oprfKeyInfo, nok), infoOPRFKey)
}

func fakeUpload(t *testing.T, v *vector) []byte {
	t.Helper()
	upload := append(v.in(t, "client_public_key"), v.in(t, "masking_key")...)
	return append(upload, make([]byte, nE)...)
}

// The pinned library, our client and our oracle, gives RFC 9807's bytes for
// every vector of a group it has.
func TestVectorsLibrary(t *testing.T) {
	ran := 0
	for _, v := range readVectors(t) {
		conf := vectorConfiguration(t, &v)
		if conf == nil {
			continue
		}
		ran++
		if v.Config.Fake == "True" {
			checkLibraryFake(t, conf, &v)
			continue
		}
		checkLibraryRegistration(t, conf, &v)
		checkLibraryLogin(t, conf, &v)
	}
	if ran != vectorsForLibrary {
		t.Errorf("ran %d vectors, want %d", ran, vectorsForLibrary)
	}
	t.Logf("%d of %d vectors", ran, vectorsTotal)
}

func vectorConfiguration(t *testing.T, v *vector) *opaque.Configuration {
	t.Helper()
	conf := configuration(string(unhex(t, v.Config.Context)))
	conf.KSF = 0 // the vectors stretch with the identity function
	switch v.Config.Group {
	case "ristretto255":
	case "P256_XMD:SHA-256_SSWU_RO_":
		conf.OPRF, conf.AKE = opaque.P256Sha256, opaque.P256Sha256
		conf.KDF, conf.MAC, conf.Hash = crypto.SHA256, crypto.SHA256, crypto.SHA256
	default:
		return nil
	}
	return conf
}

func checkLibraryRegistration(t *testing.T, conf *opaque.Configuration, v *vector) {
	t.Helper()
	client, server := must(conf.Client())(t), vectorServer(t, conf, v)
	request := must(client.RegistrationInit(v.in(t, "password"), &opaque.ClientOptions{OPRFBlind: scalar(t, conf, v.in(t, "blind_registration"))}))(t)
	equal(t, "registration_request", request.Serialize(), v.out(t, "registration_request"))
	response := must(server.RegistrationResponse(request, v.in(t, "credential_identifier"), nil))(t)
	equal(t, "registration_response", response.Serialize(), v.out(t, "registration_response"))
	record, export, err := client.RegistrationFinalize(response, v.in(t, "client_identity"), v.in(t, "server_identity"),
		&opaque.ClientOptions{RegistrationEnvelopeNonce: v.in(t, "envelope_nonce")})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "registration_upload", record.Serialize(), v.out(t, "registration_upload"))
	equal(t, "export_key", export, v.out(t, "export_key"))
}

func checkLibraryLogin(t *testing.T, conf *opaque.Configuration, v *vector) {
	t.Helper()
	client := must(conf.Client())(t)
	ke1 := must(client.GenerateKE1(v.in(t, "password"), &opaque.ClientOptions{
		OPRFBlind: scalar(t, conf, v.in(t, "blind_login")),
		AKE:       &opaque.AKEOptions{SecretKeyShareSeed: v.in(t, "client_keyshare_seed"), Nonce: v.in(t, "client_nonce")},
	}))(t)
	equal(t, "KE1", ke1.Serialize(), v.out(t, "KE1"))
	ke2 := checkLibraryKE2(t, conf, v, v.out(t, "KE1"), v.out(t, "registration_upload"))
	decoded := must(client.Deserialize.KE2(ke2))(t)
	ke3, session, export, err := client.GenerateKE3(decoded, v.in(t, "client_identity"), v.in(t, "server_identity"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "KE3", ke3.Serialize(), v.out(t, "KE3"))
	equal(t, "session_key", session, v.out(t, "session_key"))
	equal(t, "export_key", export, v.out(t, "export_key"))
}

func checkLibraryFake(t *testing.T, conf *opaque.Configuration, v *vector) {
	t.Helper()
	upload := append(v.in(t, "client_public_key"), v.in(t, "masking_key")...)
	upload = append(upload, make([]byte, nonceSize+conf.MAC.Size())...)
	checkLibraryKE2(t, conf, v, v.in(t, "KE1"), upload)
}

func checkLibraryKE2(t *testing.T, conf *opaque.Configuration, v *vector, request, upload []byte) []byte {
	t.Helper()
	server := vectorServer(t, conf, v)
	ke2, _, err := server.GenerateKE2(must(server.Deserialize.KE1(request))(t), &opaque.ClientRecord{
		RegistrationRecord:   must(server.Deserialize.RegistrationRecord(upload))(t),
		CredentialIdentifier: v.in(t, "credential_identifier"),
		ClientIdentity:       v.in(t, "client_identity"),
	}, &opaque.ServerOptions{
		MaskingNonce: v.in(t, "masking_nonce"),
		AKE:          &opaque.AKEOptions{SecretKeyShareSeed: v.in(t, "server_keyshare_seed"), Nonce: v.in(t, "server_nonce")},
	})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "KE2", ke2.Serialize(), v.out(t, "KE2"))
	return ke2.Serialize()
}

func vectorServer(t *testing.T, conf *opaque.Configuration, v *vector) *opaque.Server {
	t.Helper()
	server := must(conf.Server())(t)
	err := server.SetKeyMaterial(&opaque.ServerKeyMaterial{
		PrivateKey:     scalar(t, conf, v.in(t, "server_private_key")),
		PublicKeyBytes: v.in(t, "server_public_key"),
		OPRFGlobalSeed: v.in(t, "oprf_seed"),
		Identity:       v.in(t, "server_identity"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func readVectors(t *testing.T) []vector {
	t.Helper()
	f := must(os.Open("testdata/rfc9807-opaque-vectors.json.gz"))(t)
	defer f.Close()
	var vectors []vector
	if err := json.NewDecoder(must(gzip.NewReader(f))(t)).Decode(&vectors); err != nil {
		t.Fatalf("read vectors: %v", err)
	}
	if len(vectors) != vectorsTotal {
		t.Fatalf("the file has %d vectors, want %d", len(vectors), vectorsTotal)
	}
	return vectors
}

func scalar(t *testing.T, conf *opaque.Configuration, b []byte) *ecc.Scalar {
	t.Helper()
	return must(opaque.DeserializeScalar(conf.AKE.Group(), b))(t)
}

func orElse(b, otherwise []byte) string {
	if b == nil {
		b = otherwise
	}
	return string(b)
}

// must is for steps of a test that cannot fail unless the package is broken.
func must[T any](v T, err error) func(tb testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func equal(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s is %x, want %x", what, got, want)
	}
}
