package fsm

import (
	"fmt"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"

	"quicproquo/schemas"
)

// keysCommands are the keys topic's in scripts: packages=p1,p2 expires=E, one for
// all; signer= names the signature key, the account's if it is not given.
var keysCommands = map[string]testedCommand{
	"uploadKeyPackages": {fill: (*call).fillUploadKeyPackages, show: showNumber},
	"claimKeyPackages":  {fill: (*call).fillClaimKeyPackages, show: showClaimed},
	"uploadHybridKey":   {fill: (*call).fillUploadHybridKey, show: showNothing},
}

func (c *call) fillUploadKeyPackages(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewUploadKeyPackages()
	must(tb, err)
	account, _, _ := strings.Cut(c.arg("as", "-"), ":")
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("key", account), schemas.AccountKeySize)))
	must(tb, p.SetSignatureKey(idBytes(tb, c.arg("signer", account), schemas.AccountKeySize)))
	var packages []string
	if text := c.arg("packages", ""); text != "" {
		packages = strings.Split(text, ",")
	}
	more := int(c.number(tb, "more", 0))
	for i := range more {
		packages = append(packages, fmt.Sprintf("%s%d", c.arg("prefix", "more"), i))
	}
	list, err := p.NewPackages(int32(len(packages)))
	must(tb, err)
	for i, one := range packages {
		must(tb, list.Set(i, bodyBytes(tb, one)))
	}
	must(tb, p.SetLastResort(bodyBytes(tb, c.arg("last", ""))))
	expires, err := p.NewExpiresMs(int32(len(packages) + 1))
	must(tb, err)
	for i := range expires.Len() {
		expires.Set(i, c.number(tb, "expires", 100_000_000))
	}
	return nil
}

func (c *call) fillClaimKeyPackages(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewClaimKeyPackages()
	must(tb, err)
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("of", "-"), schemas.AccountKeySize)))
	must(tb, p.SetDeviceId(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	p.SetOldestOnly(c.number(tb, "oldest", 0) == 1)
	return nil
}

func showClaimed(tb testing.TB, results capnp.Struct) string {
	tb.Helper()
	list, err := schemas.FetchKeyPackagesResults(results).Packages()
	must(tb, err)
	text := "ok"
	for i := range list.Len() {
		one := list.At(i)
		device, err := one.DeviceId()
		must(tb, err)
		data, err := one.Package()
		must(tb, err)
		text += fmt.Sprintf(" %s=%s", short(device), data)
		if one.LastResort() {
			text += "(last)"
		}
		if code := one.Code(); code != schemas.Code_ok {
			text += code.ID()
		}
	}
	return text
}

func (c *call) fillUploadHybridKey(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewUploadHybridKey()
	must(tb, err)
	account, _, _ := strings.Cut(c.arg("as", "-"), ":")
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("key", account), schemas.AccountKeySize)))
	must(tb, p.SetHybridPublicKey(idBytes(tb, c.arg("public", "h"), schemas.HybridKeySize)))
	return p.SetSignature(idBytes(tb, c.arg("signature", "-"), schemas.SignatureSize))
}

// showKeys is the keys directive: what readers see of account[:device].
func showKeys(t *testing.T, v *View, name string) string {
	t.Helper()
	q := queueID(t, name)
	k, err := v.KeyPackages(q.Owner, q.Device)
	must(t, err)
	public, signature, err := v.HybridKey(q.Owner, q.Device)
	must(t, err)
	return fmt.Sprintf("remaining=%d last=%v low=%v hybrid=%q signature=%q\n",
		k.Remaining, k.HasLastResort, k.Low, short(public), short(signature))
}

// keyLine is a random line of the keys topic.
func keyLine(pick func(...string) string) string {
	as := pick("ann", "bob", "ann:phone")
	switch pick("upload", "upload", "claim", "claim", "claim", "hybrid", "settings") {
	case "upload":
		return fmt.Sprintf("uploadKeyPackages as=%s packages=%s last=%s expires=%s",
			as, pick("p1", "p2,p3", "p4,p5,p6", "p7,p7", ""), pick("", "l1", "l2"), pick("900000", "1200000", "5000000", "90000000"))
	case "claim":
		return fmt.Sprintf("claimKeyPackages as=%s of=%s device=%s oldest=%s", as, pick("ann", "bob"), pick("-", "-", "phone"), pick("0", "1"))
	case "hybrid":
		return "uploadHybridKey as=" + as
	}
	return "changeSettings " + pick("key_packages_max=4", "key_claim_secs=1", "key_claim_secs=600")
}
