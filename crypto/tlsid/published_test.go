package tlsid

import (
	"testing"

	published "quicproquo/testcluster/vectors"
)

// The certificates of docs/vectors.json, in DER, and what is in them: the cluster, the
// node, and the pin.
func TestVectorsPublished(t *testing.T) {
	certs, _, err := parsePEM(fixture(t, "node.pem"))
	if err != nil {
		t.Fatal(err)
	}
	_, authorities, err := parseAuthorities(fixture(t, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, root := certs[0], authorities[0]
	pin := Fingerprint(root)
	type hex = published.Hex
	published.Check(t, "../../docs/vectors.json", "pin", map[string]any{
		"authority": hex(root.Raw), "node": hex(leaf.Raw), "pin": hex(pin[:]),
		"authorityURI": root.URIs[0].String(), "nodeURI": leaf.URIs[0].String(), "nodeDNSName": leaf.DNSNames[0],
		"validFrom": leaf.NotBefore, "validTo": leaf.NotAfter,
	})
}
