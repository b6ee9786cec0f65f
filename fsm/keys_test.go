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
		must(tb, list.Set(i, packageBytes(tb, one)))
	}
	must(tb, p.SetLastResort(packageBytes(tb, c.arg("last", ""))))
	expires, err := p.NewExpiresMs(int32(len(packages) + 1))
	must(tb, err)
	for i := range expires.Len() {
		expires.Set(i, c.number(tb, "expires", 100_000_000))
	}
	return nil
}

// packageBytes reads mls:p1 as p1 in an MLSMessage, mls:mls:p1 as a bare package of
// suite 5 in one.
func packageBytes(tb testing.TB, text string) []byte {
	tb.Helper()
	if bare, wrapped := strings.CutPrefix(text, "mls:"); wrapped {
		return append([]byte(mlsHeader), packageBytes(tb, bare)...)
	}
	return bodyBytes(tb, text)
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
		text += fmt.Sprintf(" %s=%s", short(device), strings.ReplaceAll(string(data), mlsHeader, "mls:"))
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
			as, pick("p1", "p2,p3", "p4,p5,p6", "p7,p7", ""), pick("", "l1", "l2"), pick("900000", "1200000", "5000000", "90000000", "1760020000000", "1790000000000", "1790000000001", "1790000000002", "1790000000003"))
	case "claim":
		return fmt.Sprintf("claimKeyPackages as=%s of=%s device=%s oldest=%s", as, pick("ann", "bob"), pick("-", "-", "phone"), pick("0", "1"))
	case "hybrid":
		return "uploadHybridKey as=" + as
	}
	return "changeSettings " + pick("key_packages_max=4", "key_claim_secs=1", "key_claim_secs=600", "key_upload_burst=101", "key_upload_secs=0")
}

// BenchmarkClaim takes packages of 400 bytes out of pools of 100, each by another
// account than before, so that none has to wait. An op is one claim.
func BenchmarkClaim(b *testing.B) {
	const pools, perPool, batch = 64, 100, 64
	s := openTest(b, Options{Dir: b.TempDir()})
	defer closeTest(b, s)
	index, ids, uploads := uint64(0), 0, 0
	apply := func(lines []string) []Log {
		frames := make([][]byte, len(lines))
		for i, line := range lines {
			ids++
			c := parseCall(b, line, ids)
			frames[i] = c.frame(b)
		}
		index++
		return []Log{seal(b, index, 1_000_000, frames...)}
	}
	accounts := []string{"changeSettings key_claim_secs=0 key_upload_secs=0"}
	for i := range pools {
		accounts = append(accounts, fmt.Sprintf("createAccount name=n%d key=n%d", i, i))
	}
	applyAll(b, s, apply(accounts))
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		b.StopTimer()
		if n%(pools*perPool) == 0 {
			for i := range pools {
				uploads++
				applyAll(b, s, apply([]string{fmt.Sprintf("uploadKeyPackages as=n%d more=%d prefix=%s%d.", i, perPool, strings.Repeat("x", 400), uploads)}))
			}
		}
		var lines []string
		for i := range batch {
			lines = append(lines, fmt.Sprintf("claimKeyPackages as=n%d of=n%d oldest=1", (i+1)%pools, i%pools))
		}
		logs := apply(lines)
		b.StartTimer()
		applyAll(b, s, logs)
	}
}
