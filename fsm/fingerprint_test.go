package fsm

import (
	"testing"

	"quicproquo/schemas"
)

// pairs are two calls of each command that a client's call becomes, which differ in one
// thing that the caller chose.
var pairs = [][2]string{
	{"enqueue to=ann body=a", "enqueue to=ann body=b"},
	{"batchEnqueue to=ann,bob body=a", "batchEnqueue to=ann,bob/h body=a"},
	{"ack to=ann seq=1", "ack to=ann seq=2"},
	{"drain to=ann limit=1", "drain to=ann limit=2"},
	{"createChannel as=ann peer=bob channel=c1", "createChannel as=ann peer=cat channel=c1"},
	{"publishCommit as=ann group=g epoch=1", "publishCommit as=ann group=g epoch=2"},
	{"createAccount name=ann key=ann", "createAccount name=anne key=ann"},
	{"replaceRecord as=ann record=r1 handshake=h1", "replaceRecord as=ann record=r2 handshake=h1"},
	{"openSession key=ann handshake=h1", "openSession key=ann handshake=h2"},
	{"closeSessions as=ann", "closeSessions as=ann token=t1"},
	{"registerDevice as=ann device=d1", "registerDevice as=ann device=d2"},
	{"revokeDevice as=ann device=d1", "revokeDevice as=ann device=d2"},
	{"publishEndpoint as=ann key=ann endpoint=a", "publishEndpoint as=ann key=ann endpoint=b"},
	{"claimKeyPackages as=ann of=bob", "claimKeyPackages as=ann of=cat"},
	{"uploadKeyPackages as=ann packages=p1,p2", "uploadKeyPackages as=ann packages=p1 last=p2"},
	{"uploadHybridKey as=ann public=hp", "uploadHybridKey as=ann public=hq"},
	{"changeSettings device_max=1", "changeSettings device_max=2"},
	{"setInstance as=ann instance=1", "setInstance as=ann instance=2"},
	{"setContacts as=ann accounts=bob", "setContacts as=ann accounts=eve"},
	{"createAccount name=ann key=ann invite=t1", "createAccount name=ann key=ann invite=t2"},
	{"createInvite token=t1 uses=1", "createInvite token=t2 uses=1"},
	{"createInvite token=t1 uses=2", "createInvite token=t1 uses=1 ttl=60"},
	{"refuse print=7", "refuse print=8"},
	{"changeNodeKey node=n1 key=k1", "changeNodeKey node=n1 key=k2"},
	{"changeNodeKey node=n2 key=k1", "changeNodeKey node=n2 key=k1 change=replace"},
	{"setContacts as=ann accounts=bob standing=blocked", "setContacts as=ann accounts=bob standing=stranger"},
}

// nothingChosen are commands in which a caller chooses nothing: nodes propose them.
var nothingChosen = map[schemas.Entry_command_Which]bool{
	schemas.Entry_command_Which_expire: true, schemas.Entry_command_Which_putSecret: true,
	schemas.Entry_command_Which_beginLogin: true, schemas.Entry_command_Which_renewSessions: true,
	schemas.Entry_command_Which_deleteAccount: true, // no parameter but the signature
}

// Every command has a fingerprint of its own, and each difference that its caller makes
// another; the same call has the same, by whatever way it comes and however often.
func TestFingerprintsTellCommandsApart(t *testing.T) {
	seen := map[uint64]string{}
	covered := map[schemas.Entry_command_Which]bool{}
	var d decoder
	var f fingerprint
	of := func(line string, n int) uint64 {
		c := parseCall(t, line, n)
		r, err := d.decode(c.frame(t))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		covered[r.tag] = true
		return f.of(r)
	}
	for _, pair := range pairs {
		for _, line := range pair {
			p := of(line, 1)
			if p != of(line, 2) {
				t.Errorf("%s: another one under another request id", line)
			}
			if other, there := seen[p]; there {
				t.Errorf("%s and %s have the same", line, other)
			}
			seen[p] = line
		}
	}
	for tag := range commands {
		which := schemas.Entry_command_Which(tag)
		if c := commandOf(which); c != nil && !covered[which] && !nothingChosen[which] {
			t.Errorf("%s is not tried: what of it does its caller choose?", c.name)
		}
	}
}
