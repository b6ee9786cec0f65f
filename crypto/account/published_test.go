package account

import (
	"testing"

	"github.com/bytemare/opaque"
	"github.com/gtank/ristretto255"

	published "quicproquo/testcluster/vectors"
)

// fixed is a value for what is drawn otherwise: its name's bytes, repeated.
func fixed(name string, size int) []byte {
	b := make([]byte, 0, size+len(name))
	for len(b) < size {
		b = append(b, name...)
	}
	return b[:size]
}

// The vectors of docs/vectors.json: one registration and one login with everything that is
// drawn fixed, made by the client's library and the node's own half.
func TestVectorsPublished(t *testing.T) {
	conf, name, password := configuration(Context), name(t, "alice"), "correct horse battery staple"
	setup := &Setup{version: 1, akeSeed: [32]byte(fixed("server key ", 32)), oprfSeed: [64]byte(fixed("oprf seed ", 64)), nameSecret: [32]byte(fixed("names ", 32)), handshake: [32]byte(fixed("handshake ", 32))}
	setup.drawFake()
	server := must(NewServer(setup))(t)
	scalarBytes := func(name string) []byte {
		return must(ristretto255.NewScalar().SetUniformBytes(fixed(name, 64)))(t).Bytes()
	}
	blind, blindLogin := scalarBytes("blind of the registration "), scalarBytes("blind of the login ")

	client := must(conf.Client())(t)
	request := must(client.RegistrationInit([]byte(password), &opaque.ClientOptions{OPRFBlind: scalar(t, conf, blind)}))(t).Serialize()
	response := must(server.RegisterStart(name, request))(t)
	options := clientOptions()
	options.RegistrationEnvelopeNonce = fixed("envelope nonce ", 32)
	record, exportKey, err := client.RegistrationFinalize(must(client.Deserialize.RegistrationResponse(response))(t), []byte(name.canonical), nil, options)
	if err != nil {
		t.Fatal(err)
	}
	upload := record.Serialize()

	client = must(conf.Client())(t)
	ke1 := must(client.GenerateKE1([]byte(password), &opaque.ClientOptions{
		OPRFBlind: scalar(t, conf, blindLogin),
		AKE:       &opaque.AKEOptions{SecretKeyShareSeed: fixed("client share ", 32), Nonce: fixed("client nonce ", 32)},
	}))(t).Serialize()
	credential := &credential{
		record:   must(decodeRegistration(upload))(t),
		oprfKey:  oprfKey(setup.oprfSeed[:], setup.credentialID(name)),
		identity: name.canonical,
	}
	ke2, want := generateKE2(server.key, Context, must(decodeLoginRequest(ke1))(t), credential, &serverRandom{
		maskingNonce: [32]byte(fixed("masking nonce ", 32)), nonce: [32]byte(fixed("server nonce ", 32)), keyshareSeed: [32]byte(fixed("server share ", 32)),
	})
	ke3, session, again, err := client.GenerateKE3(must(client.Deserialize.KE2(ke2))(t), []byte(name.canonical), nil, clientOptions())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "KE3", ke3.Serialize(), want)
	equal(t, "export key at login", again, exportKey)

	type hex = published.Hex
	published.Check(t, "../../docs/vectors.json", "opaque", map[string]any{
		"context": Context, "username": name.canonical, "password": password,
		"blind": hex(blind), "envelopeNonce": hex(fixed("envelope nonce ", 32)),
		"registrationRequest": hex(request), "registrationResponse": hex(response), "upload": hex(upload), "exportKey": hex(exportKey),
		"blindLogin": hex(blindLogin), "clientKeyshareSeed": hex(fixed("client share ", 32)), "clientNonce": hex(fixed("client nonce ", 32)),
		"ke1": hex(ke1), "ke2": hex(ke2), "ke3": hex(ke3.Serialize()), "sessionKey": hex(session),
	})
}
