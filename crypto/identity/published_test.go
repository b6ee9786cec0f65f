package identity

import (
	"crypto/ed25519"
	"testing"

	published "quicproquo/testcluster/vectors"
)

// The statements of docs/vectors.json: what each is over, its bytes and the signature of
// the key whose seed is 32 times 1 (the account's) or 2 (the device's).
func TestVectorsPublished(t *testing.T) {
	account, device := seeded(1), seeded(2)
	accountKey, deviceKey := [KeySize]byte(account.Public().(ed25519.PublicKey)), [KeySize]byte(device.Public().(ed25519.PublicKey))
	deviceID := [DeviceIDSize]byte(counted(DeviceIDSize))
	upload, hybrid := counted(192), counted(1216)
	server, exporter, tokenHash, record := [32]byte{3}, [ExporterSize]byte{4}, [32]byte{5}, [32]byte{6}
	const signedAt, username = 1_796_000_000_000, "alice"

	type hex = published.Hex
	row := func(said Statement, by ed25519.PrivateKey, parts map[string]any) map[string]any {
		signature, err := said.Sign(by)
		if err != nil {
			t.Fatal(err)
		}
		parts["statement"], parts["signature"] = hex(said), hex(signature)
		parts["signer"] = map[bool]string{true: "account", false: "device"}[by.Equal(account)]
		return parts
	}
	published.Check(t, "../../docs/vectors.json", "statements", map[string]any{
		"keys": map[string]any{
			"accountSeed": hex(account.Seed()), "account": hex(accountKey[:]), "deviceSeed": hex(device.Seed()), "device": hex(deviceKey[:]),
			"deviceId": hex(deviceID[:]),
		},
		"register": row(Register(server, accountKey, username, upload), account, map[string]any{
			"server": hex(server[:]), "username": username, "upload": hex(upload),
		}),
		"device":       row(Device(accountKey, deviceID, deviceKey), account, map[string]any{}),
		"hybridKey":    row(HybridKey(accountKey, deviceID[:], hybrid), device, map[string]any{"hybridPublicKey": hex(hybrid)}),
		"bindSession":  row(Bind(exporter, tokenHash), device, map[string]any{"exporter": hex(exporter[:]), "tokenHash": hex(tokenHash[:])}),
		"revokeDevice": row(RevokeDevice(accountKey, deviceID, signedAt), account, map[string]any{"signedAtMs": signedAt}),
		"deleteAccount": row(DeleteAccount(accountKey, signedAt), account, map[string]any{
			"signedAtMs": signedAt,
		}),
		"changePassword": row(ChangePassword(accountKey, record, upload), account, map[string]any{
			"recordDigest": hex(record[:]), "upload": hex(upload),
		}),
		"loginStart": row(LoginStart(accountKey, deviceID[:], username, counted(96)), device, map[string]any{
			"username": username, "ke1": hex(counted(96)),
		}),
		"instance": row(Instance(accountKey, deviceID[:], 7, []uint64{5, 6}), device, map[string]any{
			"instance": 7, "held": []uint64{5, 6},
		}),
	})
}

func seeded(b byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = b
	}
	return ed25519.NewKeyFromSeed(seed)
}

// counted is 0, 1, 2 and so on.
func counted(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}
