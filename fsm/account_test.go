package fsm

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"
	"github.com/cockroachdb/pebble/v2/vfs"

	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// accountCommands are the account topic's commands in scripts. Where a rule wants
// a hash, the line has what is hashed: record=r1, token=t1.
var accountCommands = map[string]testedCommand{
	"putSecret":       {as: schemas.Actor_Kind_node, fill: (*call).fillPutSecret, show: showNumber},
	"createAccount":   {as: schemas.Actor_Kind_node, fill: (*call).fillCreateAccount, show: showFlag},
	"deleteAccount":   {fill: (*call).fillDeleteAccount, show: showFlag},
	"replaceRecord":   {fill: (*call).fillReplaceRecord, show: showNumber},
	"beginLogin":      {as: schemas.Actor_Kind_node, fill: (*call).fillBeginLogin, show: showNumber},
	"openSession":     {as: schemas.Actor_Kind_node, fill: (*call).fillOpenSession, show: showNumber},
	"renewSessions":   {as: schemas.Actor_Kind_node, noID: true, fill: (*call).fillRenewSessions, show: showNumber},
	"closeSessions":   {fill: (*call).fillCloseSessions, show: showNumber},
	"registerDevice":  {fill: (*call).fillRegisterDevice, show: showFlag},
	"revokeDevice":    {fill: (*call).fillRevokeDevice, show: showFlag},
	"publishEndpoint": {fill: (*call).fillPublishEndpoint, show: showNothing},
	"setInstance":     {fill: (*call).fillSetInstance, show: showFlag},
	"setContacts":     {fill: (*call).fillSetContacts, show: showNumber},
	"createInvite":    {as: schemas.Actor_Kind_node, fill: (*call).fillCreateInvite, show: showNumber},
	"refuse":          {as: schemas.Actor_Kind_node, fill: (*call).fillRefuse, show: showNothing},
	"changeNodeKey":   {as: schemas.Actor_Kind_node, fill: (*call).fillChangeNodeKey, show: showNumber},
}

func showNumber(_ testing.TB, results capnp.Struct) string {
	return fmt.Sprintf("ok %d", results.Uint64(0))
}

func showFlag(_ testing.TB, results capnp.Struct) string {
	return fmt.Sprintf("ok %v", results.Uint64(0) == 1)
}

func showNothing(testing.TB, capnp.Struct) string { return "ok" }

// hashOf is the SHA-256 of an argument, nothing for none and !N for N bytes.
func hashOf(tb testing.TB, text string) []byte {
	tb.Helper()
	if text == "" || text == "-" || text[0] == '!' {
		return idBytes(tb, text, sha256.Size)
	}
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func (c *call) fillPutSecret(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewPutSecret()
	must(tb, err)
	must(tb, p.SetName(c.arg("name", "")))
	p.SetVersion(c.number(tb, "version", 0))
	return p.SetWrapped(bodyBytes(tb, c.arg("wrapped", "")))
}

func (c *call) fillCreateAccount(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewCreateAccount()
	must(tb, err)
	must(tb, p.SetUsername(string(bodyBytes(tb, c.arg("name", "")))))
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("key", "-"), schemas.AccountKeySize)))
	record := bodyBytes(tb, c.arg("record", "r1"))
	must(tb, p.SetRecord(record))
	must(tb, p.SetHandshakeId(idBytes(tb, c.arg("handshake", "-"), schemas.HandshakeIDSize)))
	p.SetHandshakeExpiresMs(c.number(tb, "expires", 0))
	must(tb, p.SetInviteHash(hashOf(tb, c.arg("invite", ""))))
	if c.arg("by", "") == "" {
		return nil
	}
	server, key := idBytes(tb, c.arg("server", "server"), 32), idBytes(tb, c.arg("key", "-"), schemas.AccountKeySize)
	must(tb, p.SetServer(server))
	named := idBytes(tb, c.arg("signedServer", c.arg("server", "server")), 32)
	upload := uploadOf(bodyBytes(tb, c.arg("signedRecord", c.arg("record", "r1"))))
	return p.SetProof(c.signed(tb, identity.Register([32]byte(padded(named)), [32]byte(key), c.arg("signedName", c.arg("name", "")), upload)))
}

// padded is 32 bytes that begin as b does.
func padded(b []byte) []byte { return append(append([]byte(nil), b...), make([]byte, 32)...)[:32] }

func (c *call) fillDeleteAccount(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewDeleteAccount()
	must(tb, err)
	p.SetSignedAtMs(c.number(tb, "signed", 7))
	return p.SetSignature(c.signed(tb, identity.DeleteAccount(c.actorKey(tb), c.number(tb, "said", p.SignedAtMs()))))
}

// actorKey is the account whose command the line is, or that it says it signs for.
func (c *call) actorKey(tb testing.TB) [32]byte {
	tb.Helper()
	name, _, _ := strings.Cut(c.arg("of", c.arg("as", "")), ":")
	return [32]byte(padded(idBytes(tb, name, schemas.AccountKeySize)))
}

func (c *call) fillReplaceRecord(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewReplaceRecord()
	must(tb, err)
	must(tb, p.SetRecord(bodyBytes(tb, c.arg("record", "r2"))))
	must(tb, p.SetHandshakeId(idBytes(tb, c.arg("handshake", "-"), schemas.HandshakeIDSize)))
	p.SetHandshakeExpiresMs(c.number(tb, "expires", 0))
	must(tb, p.SetRecordDigest(hashOf(tb, c.arg("proved", "r1"))))
	old := hashOf(tb, c.arg("signedOld", c.arg("proved", "r1")))
	upload := uploadOf(bodyBytes(tb, c.arg("signedRecord", c.arg("record", "r2"))))
	must(tb, p.SetSignature(c.signed(tb, identity.ChangePassword(c.actorKey(tb), [32]byte(padded(old)), upload))))
	return p.SetKeepTokenHash(hashOf(tb, c.arg("keep", "-")))
}

func (c *call) fillBeginLogin(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewBeginLogin()
	must(tb, err)
	must(tb, p.SetDevice(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	return p.SetName(hashOf(tb, c.arg("name", "-")))
}

func (c *call) fillOpenSession(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewOpenSession()
	must(tb, err)
	must(tb, p.SetName(hashOf(tb, c.arg("name", "-"))))
	must(tb, p.SetUsername(c.arg("name", "")))
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("key", "-"), schemas.AccountKeySize)))
	must(tb, p.SetDeviceId(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	must(tb, p.SetTokenHash(hashOf(tb, c.arg("token", "-"))))
	must(tb, p.SetHandshakeId(idBytes(tb, c.arg("handshake", "-"), schemas.HandshakeIDSize)))
	p.SetHandshakeExpiresMs(c.number(tb, "expires", 0))
	return p.SetRecordDigest(hashOf(tb, c.arg("proved", "r1")))
}

func (c *call) fillRenewSessions(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewRenewSessions()
	must(tb, err)
	var tokens []string
	if text := c.arg("tokens", ""); text != "" {
		tokens = strings.Split(text, ",")
	}
	more := int(c.number(tb, "more", 0))
	list, err := p.NewTokenHashes(int32(len(tokens) + more))
	must(tb, err)
	for i, token := range tokens {
		must(tb, list.Set(i, hashOf(tb, token)))
	}
	return nil
}

func (c *call) fillCloseSessions(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewCloseSessions()
	must(tb, err)
	return p.SetTokenHash(hashOf(tb, c.arg("token", "-")))
}

func (c *call) fillRegisterDevice(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewRegisterDevice()
	must(tb, err)
	must(tb, p.SetDeviceId(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)))
	must(tb, p.SetDeviceName(string(bodyBytes(tb, c.arg("name", "")))))
	key := idBytes(tb, c.arg("key", "-"), schemas.AccountKeySize)
	must(tb, p.SetDeviceKey(key))
	if c.arg("by", "") != "" {
		id := padded(idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize))[:16]
		return p.SetSignature(c.signed(tb, identity.Device(c.actorKey(tb), [16]byte(id), [32]byte(padded(key)))))
	}
	return p.SetSignature(bodyBytes(tb, c.arg("signature", "")))
}

func (c *call) fillRevokeDevice(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewRevokeDevice()
	must(tb, err)
	id := idBytes(tb, c.arg("device", "-"), schemas.DeviceIDSize)
	must(tb, p.SetDeviceId(id))
	p.SetSignedAtMs(c.number(tb, "signed", 7))
	named := idBytes(tb, c.arg("signedDevice", c.arg("device", "-")), schemas.DeviceIDSize)
	return p.SetSignature(c.signed(tb, identity.RevokeDevice(c.actorKey(tb), [16]byte(padded(named)[:16]), c.number(tb, "said", p.SignedAtMs()))))
}

func (c *call) fillPublishEndpoint(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewPublishEndpoint()
	must(tb, err)
	must(tb, p.SetIdentityKey(idBytes(tb, c.arg("key", "-"), schemas.AccountKeySize)))
	must(tb, p.SetEndpoint(bodyBytes(tb, c.arg("endpoint", ""))))
	p.SetTtlSecs(uint32(c.number(tb, "ttl", 0)))
	return nil
}

func (c *call) fillSetInstance(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewSetInstance()
	must(tb, err)
	p.SetInstance(c.number(tb, "instance", 0))
	held := numbers(tb, c.arg("held", ""))
	list, err := p.NewHeld(int32(len(held)))
	must(tb, err)
	for i, h := range held {
		list.Set(i, h)
	}
	_, device, _ := strings.Cut(c.arg("as", ""), ":")
	named := idBytes(tb, c.arg("signedDevice", device), schemas.DeviceIDSize)
	signedHeld := numbers(tb, c.arg("signedHeld", c.arg("held", "")))
	return p.SetSignature(c.signed(tb, identity.Instance(c.actorKey(tb), named, c.number(tb, "signedInstance", p.Instance()), signedHeld)))
}

// fillSetContacts reads accounts=ann,bob standing=contact, stranger, blocked or a number.
func (c *call) fillSetContacts(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewSetContacts()
	must(tb, err)
	standing := c.arg("standing", "contact")
	p.SetStanding(schemas.SetContactsParams_StandingFromString(standing))
	if n, err := strconv.ParseUint(standing, 10, 16); err == nil {
		p.SetStanding(schemas.SetContactsParams_Standing(n))
	}
	var names []string
	if list := c.arg("accounts", ""); list != "" {
		names = strings.Split(list, ",")
	}
	for n := c.number(tb, "more", 0); n > 0; n-- {
		names = append(names, fmt.Sprintf("more%s%d", c.arg("kind", ""), n))
	}
	list, err := p.NewAccounts(int32(len(names)))
	must(tb, err)
	for i, name := range names {
		must(tb, list.Set(i, idBytes(tb, name, schemas.AccountKeySize)))
	}
	return nil
}

// numbers reads numbers with commas between.
func numbers(tb testing.TB, text string) (list []uint64) {
	tb.Helper()
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		n, err := strconv.ParseUint(one, 10, 64)
		must(tb, err)
		list = append(list, n)
	}
	return list
}

// showAccount is the account directive: what readers see of a name.
func showAccount(t *testing.T, v *View, name string) string {
	t.Helper()
	key, ok, err := v.AccountByName(name)
	must(t, err)
	if !ok {
		return "none\n"
	}
	a, ok, err := v.Account(key)
	must(t, err)
	if !ok {
		t.Fatalf("the name %s is taken by an account that is not there", name)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s key=%s created=%d record=%s\n", a.Username, short(a.Key[:]), a.CreatedMs, a.Record)
	for _, d := range a.Devices {
		fmt.Fprintf(&out, "device %s %q at %d speaks with %s\n", short(d.ID[:]), d.Name, d.RegisteredMs, short(a.PrincipalKey(d.ID)))
	}
	endpoints, err := v.Endpoints(key)
	must(t, err)
	for _, e := range endpoints {
		fmt.Fprintf(&out, "endpoint of %q until %d: %s\n", short(e.Device[:]), e.ExpiresMs, e.Endpoint)
	}
	return out.String()
}

// showStatements is the statements directive. Everything in it must verify.
func showStatements(t *testing.T, v *View, name string) string {
	t.Helper()
	account := AccountKey(idBytes(t, name, schemas.AccountKeySize))
	devices, deleted, err := v.Statements(account)
	must(t, err)
	var out strings.Builder
	for _, r := range devices {
		ok := identity.RevokeDevice(account, r.Device, r.SignedMs).Verify(account[:], r.Signature)
		fmt.Fprintf(&out, "device %s signed=%d taken=%d verifies=%v\n", short(r.Device[:]), r.SignedMs, r.RevokedMs, ok)
	}
	if deleted != nil {
		ok := identity.DeleteAccount(account, deleted.SignedMs).Verify(account[:], deleted.Signature)
		fmt.Fprintf(&out, "deleted signed=%d taken=%d verifies=%v\n", deleted.SignedMs, deleted.DeletedMs, ok)
	}
	if out.Len() == 0 {
		return "none\n"
	}
	return out.String()
}

// showSession is the session directive.
func showSession(t *testing.T, v *View, token string) string {
	t.Helper()
	s, ok, err := v.Session([32]byte(hashOf(t, token)))
	must(t, err)
	if !ok {
		return "none\n"
	}
	return fmt.Sprintf("of %s device=%q created=%d renewed=%d expires=%d\n",
		short(s.Account[:]), short(s.Device[:]), s.CreatedMs, s.RenewedMs, s.ExpiresMs)
}

// short undoes idBytes.
func short(id []byte) string { return strings.TrimRight(string(id), ".\x00") }

// accountLine is a random line of the account topic, good or refused.
func accountLine(pick func(...string) string) string {
	name, as := pick("ann", "bob", "cat"), " as="+pick("ann", "bob", "cat", "ann:phone")
	device := " device=" + pick("phone", "laptop", "tablet")
	handshake := fmt.Sprintf(" handshake=h%s expires=%s", pick("1", "2", "3", "4", "5"), pick("1060000", "1500000", "3000000", "9000000"))
	token := " token=" + pick("t1", "t2", "t3", "t4")
	switch pick("create", "create", "open", "open", "open", "login", "renew", "close", "register", "register", "revoke",
		"endpoint", "replace", "delete", "secret", "settings") {
	case "create":
		return fmt.Sprintf("createAccount name=%s key=%s record=%s", name, pick(name, "eve"), pick("r1", "r2"))
	case "open":
		return fmt.Sprintf("openSession name=%s key=%s proved=%s%s%s%s", name, name, pick("r1", "r2"), token, handshake, pick("", device))
	case "login":
		return "beginLogin name=" + name
	case "renew":
		return "renewSessions tokens=t1," + pick("t2", "t3", "nothing")
	case "close":
		return "closeSessions" + as + pick("", token)
	case "register":
		return "registerDevice" + as + device + pick("", " key=k1", " key=k2") + " name=" + pick("x", "y")
	case "revoke":
		return "revokeDevice" + as + device
	case "endpoint":
		return fmt.Sprintf("publishEndpoint%s key=%s endpoint=%s ttl=%s", as, name, pick("", "e1"), pick("0", "60", "4000"))
	case "replace":
		return fmt.Sprintf("replaceRecord%s record=%s proved=%s%s keep=%s", as, pick("r1", "r2"), pick("r1", "r2"), handshake, pick("t1", "t2"))
	case "delete":
		return "deleteAccount" + as
	case "secret":
		return "putSecret name=" + pick("a", "b") + " version=" + pick("1", "2", "3") + " wrapped=w"
	}
	return "changeSettings " + pick("session_ttl_secs=300", "session_max=2", "device_max=1", "username_hold_secs=60", "login_failures_max=1")
}

// Of the statements on an account's devices the last schemas.MaxRevocations are kept.
func TestStatementsAreBounded(t *testing.T) {
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	index, n := uint64(0), 0
	apply := func(lines ...string) {
		var frames [][]byte
		for _, line := range lines {
			n++
			c := parseCall(t, line, n)
			frames = append(frames, c.frame(t))
		}
		index++
		results, err := s.Apply([]Log{seal(t, index, 1_000_000+1000*index, frames...)})
		must(t, err)
		for i, r := range results[0] {
			if r.Code != schemas.Code_ok {
				t.Fatalf("%s: %s", lines[i], r.Code.ID())
			}
		}
	}
	apply("changeSettings feature_level=2", "createAccount name=ann key=+ann by=ann")
	for i := range schemas.MaxRevocations + 2 {
		device := fmt.Sprintf(" as=+ann device=d%03d", schemas.MaxRevocations+1-i) // the oldest is not the lowest
		apply("registerDevice"+device, "revokeDevice by=ann"+device)
	}
	v, err := s.View()
	must(t, err)
	defer func() { must(t, v.Close()) }()
	list, _, err := v.Statements(AccountKey(idBytes(t, "+ann", schemas.AccountKeySize)))
	must(t, err)
	if len(list) != schemas.MaxRevocations {
		t.Fatalf("%d statements are kept, want %d", len(list), schemas.MaxRevocations)
	}
	for i, r := range list {
		if want := fmt.Sprintf("d%03d", i); short(r.Device[:]) != want {
			t.Fatalf("statement %d is on %s, want %s: those that were taken first go first", i, short(r.Device[:]), want)
		}
	}
}
