package fsm

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"quicproquo/schemas"
)

// groupCommands are the group topic's in scripts. to=ann,bob:phone;eve is two
// deliveries; proof=s shows s, and next=s stores what will hash from it.
var groupCommands = map[string]testedCommand{
	"publishCommit": {fill: (*call).fillPublishCommit, show: showCommit},
}

const scriptGroupID = 20 // bytes

func (c *call) fillPublishCommit(tb testing.TB, cmd schemas.Entry_command) error {
	tb.Helper()
	p, err := cmd.NewPublishCommit()
	must(tb, err)
	p.SetVersion(uint16(c.number(tb, "version", schemas.WireVersion)))
	p.SetTtlSecs(uint32(c.number(tb, "ttl", 0)))
	p.SetEpoch(c.number(tb, "epoch", 0))
	must(tb, p.SetGroupId(idBytes(tb, c.arg("group", "-"), scriptGroupID)))
	must(tb, p.SetProof(idBytes(tb, c.arg("proof", "-"), sha256.Size)))
	must(tb, p.SetNextVerifier(verifierOf(tb, c.arg("next", "-"))))
	must(tb, p.SetGroupInfo(bodyBytes(tb, c.arg("info", ""))))
	var deliveries []string
	if to := c.arg("to", ""); to != "" {
		deliveries = strings.Split(to, ";")
	}
	for n := c.number(tb, "more", 0); n > 0; n-- {
		deliveries = append(deliveries, "ann")
	}
	list, err := p.NewDeliveries(int32(len(deliveries)))
	must(tb, err)
	for i, to := range deliveries {
		c.fillDelivery(tb, list.At(i), to)
	}
	return nil
}

// verifierOf is the hash of what proof=name shows.
func verifierOf(tb testing.TB, name string) []byte {
	tb.Helper()
	if name == "-" || name[0] == '!' {
		return idBytes(tb, name, sha256.Size)
	}
	sum := sha256.Sum256(idBytes(tb, name, sha256.Size))
	return sum[:]
}

func (c *call) fillDelivery(tb testing.TB, d schemas.Delivery, to string) {
	tb.Helper()
	must(tb, d.SetPayload(bodyBytes(tb, c.arg("body", "commit"))))
	must(tb, d.SetChannelId(idBytes(tb, c.arg("channel", "-"), schemas.ChannelIDSize)))
	names := strings.Split(to, ",")
	if n, err := strconv.Atoi(to); err == nil {
		names = make([]string, n)
		for i := range names {
			names[i] = fmt.Sprintf("n%d", i)
		}
	}
	list, err := d.NewRecipients(int32(len(names)))
	must(tb, err)
	for i, name := range names {
		name, header, _ := strings.Cut(name, "/")
		name, device, _ := strings.Cut(name, ":")
		must(tb, list.At(i).SetKey(idBytes(tb, name, schemas.AccountKeySize)))
		must(tb, list.At(i).SetDevice(idBytes(tb, device, schemas.DeviceIDSize)))
		must(tb, list.At(i).SetHeader(bodyBytes(tb, header)))
	}
}

func showCommit(tb testing.TB, results capnp.Struct) string {
	tb.Helper()
	res := schemas.PublishCommitResults(results)
	text := fmt.Sprintf("ok epoch=%d", res.Epoch())
	list, err := res.Outcomes()
	must(tb, err)
	for i := range list.Len() {
		if code := list.At(i).Code(); code != schemas.Code_ok {
			text += " " + code.ID()
		} else {
			text += fmt.Sprintf(" seq=%d", list.At(i).Seq())
		}
	}
	return text
}

// showGroup is the group directive.
func showGroup(t *testing.T, v *View, name string) string {
	t.Helper()
	g, ok, err := v.Group(idBytes(t, name, scriptGroupID))
	must(t, err)
	if !ok {
		return "none\n"
	}
	return fmt.Sprintf("epoch=%d changed=%d info=%s\n", g.Epoch, g.ChangedMs, g.Info)
}

// groupLine is a random line of the group topic.
func groupLine(pick func(...string) string) string {
	epoch := pick("1", "1", "2", "3")
	return fmt.Sprintf("publishCommit as=%s group=%s epoch=%s proof=%s next=s%s info=%s to=%s body=%s",
		pick("ann", "bob"), pick("g1", "g2"), epoch, pick("-", "s"+epoch, "s"+epoch), pick("2", "3", "4"),
		pick("", "i1", "i2"), pick("ann,bob", "ann,bob;cat", "bob:phone", "ann;ann;bob,eve"), pick("x", "y*9000"))
}

// Of all commits that end an epoch exactly one wins, whoever sends how many in
// whatever order, and the epoch grows by one with each winner.
func TestOneCommitWinsAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := helper(t)
		s := openTest(tb, testOptions(vfs.NewMem()))
		defer closeTest(tb, s)
		first := parseCall(tb, "createAccount name=ann key=ann", 1)
		found := parseCall(tb, "publishCommit as=ann group=g epoch=0 next=s0", 2)
		_, err := s.Apply([]Log{seal(tb, 1, 1000, first.frame(tb), found.frame(tb))})
		must(tb, err)
		winners := map[uint64]int{}
		current := uint64(0)
		for n := range rapid.IntRange(1, 60).Draw(t, "commits") {
			epoch := uint64(max(int(current)+rapid.IntRange(-2, 1).Draw(t, "epoch"), 0))
			proof := rapid.SampledFrom([]string{fmt.Sprintf("s%d", epoch), "wrong", "-"}).Draw(t, "proof")
			c := parseCall(tb, fmt.Sprintf("publishCommit as=ann group=g epoch=%d proof=%s next=s%d", epoch, proof, epoch+1), 10+n)
			results, err := s.Apply([]Log{seal(tb, uint64(2+n), 1000, c.frame(tb))})
			must(tb, err)
			got := results[0][0]
			wins := epoch == current && proof == fmt.Sprintf("s%d", epoch)
			if (got.Code == schemas.Code_ok) != wins {
				t.Fatalf("epoch %d with proof %s at epoch %d: %s", epoch, proof, current, c.show(tb, got))
			}
			if wins {
				winners[epoch]++
				current++
			} else if epoch != current && (got.Code != schemas.Code_epochConflict || got.Value != current) {
				t.Fatalf("a loser got %s, want EPOCH_CONFLICT %d", c.show(tb, got), current)
			}
		}
		for epoch := range current {
			if winners[epoch] != 1 {
				t.Fatalf("epoch %d has %d winners", epoch, winners[epoch])
			}
		}
	})
}
