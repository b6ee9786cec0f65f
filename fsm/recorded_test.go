package fsm

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var record = flag.Bool("record", false, "record testdata/logs for this format version, if there is none")

// Logs that released versions wrote lead to the states that they led to then,
// for ever. testdata/logs/vN.log is a log of format version N, and vN-levelM.log one
// whose rules are of a later feature level, entries one after another as index:8
// length:4 envelope; vN.want is the state that it leads to.
func TestRecordedLogs(t *testing.T) {
	if *record {
		recordLogs(t)
	}
	for _, log := range recordedLogs {
		name := "testdata/logs/" + log.name
		data, err := os.ReadFile(name + ".log")
		must(t, err)
		want, err := os.ReadFile(name + ".want")
		must(t, err)
		if got := describeReplay(t, parseRecorded(t, data)); got != string(want) {
			t.Errorf("%s.log leads to\n%swant\n%s", name, got, want)
		}
	}
}

// describeReplay applies a log and describes all that came of it.
func describeReplay(t *testing.T, logs []Log) string {
	t.Helper()
	s := openTest(t, testOptions(vfs.NewMem()))
	defer closeTest(t, s)
	results, err := s.Apply(logs)
	must(t, err)
	answers, rows := fnv.New64a(), fnv.New64a()
	codes := map[string]int{}
	for _, entry := range results {
		for _, r := range entry {
			_, _ = answers.Write(r.Append(nil))
			codes[r.Code.ID()]++
		}
	}
	all := dump(t, s)
	_, _ = rows.Write([]byte(all))
	mark := s.Digest()
	return fmt.Sprintf("index %d\ndigest %016x\nanswers %016x %v\nrows %016x %d\n",
		mark.Index, mark.Digest, answers.Sum64(), codes, rows.Sum64(), strings.Count(all, "\n"))
}

func parseRecorded(t *testing.T, data []byte) (logs []Log) {
	t.Helper()
	for len(data) > 0 {
		index, size := binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint32(data[8:])
		logs = append(logs, Log{Index: index, Data: data[12 : 12+size]})
		data = data[12+size:]
	}
	return logs
}

// recordedLogs are how the recorded logs were made, one for each format version and
// feature level.
var recordedLogs = []struct {
	name   string
	seed   uint64
	begins []string // without these most of what follows is refused
	line   func(*rand.Rand, int) string
}{
	{"v1", 1, recordedAccounts, randomLine},
	{"v1-level2", 2, levelTwoAccounts, levelTwoLine},
	{"v1-level3", 3, levelThreeAccounts, levelThreeLine},
	{"v1-level4", 4, levelFourAccounts, levelFourLine},
	{"v1-level5", 5, levelFiveAccounts, levelFiveLine},
	{"v1-level6", 6, levelSixAccounts, levelSixLine},
	{"v1-level7", 7, levelSevenBegins, levelSevenLine},
}

// recordLogs writes the logs that are not there yet and the states that they lead to.
// What was recorded once is never recorded again.
func recordLogs(t *testing.T) {
	t.Helper()
	for _, log := range recordedLogs {
		name := "testdata/logs/" + log.name
		if _, err := os.Stat(name + ".log"); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		rng := rand.New(rand.NewPCG(1, log.seed))
		var data []byte
		stamp, n := uint64(1_760_000_000_000), 0
		for index := uint64(2); index < 400; index += 1 + rng.Uint64N(2) {
			stamp += []uint64{0, 20, 400, 61_000, 900_000}[rng.IntN(5)]
			var frames [][]byte
			for range rng.IntN(5) {
				line := log.line(rng, n+1)
				if n < len(log.begins) {
					line = log.begins[n]
				}
				n++
				line = strings.ReplaceAll(line, "expires=soon", fmt.Sprint("expires=", stamp+60_000))
				c := parseCall(t, line, n)
				frames = append(frames, c.frame(t))
			}
			entry := seal(t, index, stamp, frames...)
			data = binary.LittleEndian.AppendUint64(data, entry.Index)
			data = binary.LittleEndian.AppendUint32(data, uint32(len(entry.Data)))
			data = append(data, entry.Data...)
		}
		must(t, os.MkdirAll(filepath.Dir(name), 0o755))
		must(t, os.WriteFile(name+".log", data, 0o644))
		must(t, os.WriteFile(name+".want", []byte(describeReplay(t, parseRecorded(t, data))), 0o644))
	}
}

var levelTwoAccounts = []string{
	"createAccount name=old key=+old", "enqueue to=+old body=before ttl=30 ephemeral=1", "changeSettings feature_level=2",
	"createAccount name=ann key=+ann by=ann", "createAccount name=bob key=+bob by=bob",
	"registerDevice as=+ann device=phone key=+phone by=ann", "registerDevice as=+bob device=desk",
}

// levelTwoLine is a command for the log of level 2: what that level brought, good and
// refused, among what was there before.
func levelTwoLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	who := pick("ann", "bob", "eve")
	as, by := " as=+"+who, pick("", " by="+who, " by="+who, " by="+who, " by=mallory")
	ephemeral := pick("", " ephemeral=1", " ephemeral=1")
	ttl := " ttl=" + pick("0", "1", "10", "600", "601", "86400")
	device := " device=" + pick("phone", "desk", "lap1", "lap2", fmt.Sprint("d", n))
	switch rng.IntN(12) {
	case 0, 1, 2:
		return fmt.Sprintf("enqueue to=+%s body=b*%d%s%s", who, 1+rng.IntN(200), ttl, ephemeral)
	case 3, 4:
		return fmt.Sprintf("batchEnqueue to=+ann,+bob/h,+old body=b*%d%s%s", 1+rng.IntN(200), ttl, ephemeral)
	case 5:
		return fmt.Sprintf("ack to=+%s%s seq=%d", who, pick("", device), rng.IntN(20))
	case 6, 7:
		return fmt.Sprintf("expire rows=%d", rng.IntN(20))
	case 8:
		return "registerDevice" + as + device + pick("", " key=+k1") + by
	case 9:
		return "revokeDevice" + as + device + by
	case 10:
		name := pick("cat", "сat", "саt", "c4t", "dog", "d0g", "eve")
		return fmt.Sprintf("createAccount name=%s key=+%s by=%s", name, name, name)
	}
	return pick("deleteAccount as=+cat by=cat", "deleteAccount as=+dog by=eve", "changeSettings feature_level=1",
		"changeSettings queue_max_envelopes=20", "changeSettings username_hold_secs=0",
		"replaceRecord as=+ann record=r2 proved=r1 handshake=h1 expires=1760000100000 by=ann")
}

var levelThreeAccounts = []string{
	"createAccount name=ann key=+ann", "changeSettings feature_level=3", "createAccount name=bob key=+bob by=bob",
	"registerDevice as=+ann device=phone key=+phone by=ann", "registerDevice as=+bob device=desk",
}

// levelThreeLine is a command for the log of level 3: instances of devices, among what
// ends them.
func levelThreeLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	if rng.IntN(3) == 0 {
		return levelTwoLine(rng, n)
	}
	who := pick(" as=+ann:phone by=phone", " as=+ann:phone by=phone", " as=+bob:desk by=bob", " as=+ann by=ann", " as=+ann:phone by=bob", " as=+bob:desk")
	return fmt.Sprintf("setInstance%s instance=%d held=%d,%d", who, rng.IntN(8), rng.IntN(8), rng.IntN(8))
}

var levelFourAccounts = []string{
	"createAccount name=ann key=+ann", "enqueue as=+ann to=+ann body=old id=901", "changeSettings feature_level=4",
	"createAccount name=bob key=+bob by=bob", "registerDevice as=+ann device=phone key=+phone by=ann",
}

// levelFourLine is a command for the log of level 4: request ids that are used for the
// same and for other commands, among what was there before.
func levelFourLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	if rng.IntN(3) == 0 {
		return levelThreeLine(rng, n)
	}
	return pick("enqueue as=+ann to=+ann body=one", "enqueue as=+ann to=+bob body=two ttl=60 ephemeral=1",
		"batchEnqueue as=+bob to=+ann,+bob/h body=three", "publishEndpoint as=+ann key=+ann endpoint=here ttl=60",
		"createChannel as=+ann peer=+bob channel="+pick("c1", "c2"), "changeSettings clock_error_secs="+pick("4", "60", "90"),
		"ack as=+ann to=+ann seq=1") + fmt.Sprintf(" id=%d", 901+rng.IntN(40))
}

var levelFiveAccounts = []string{
	"createAccount name=ann key=+ann", "createAccount name=bob key=+bob", "createAccount name=mal key=+mal",
	"changeSettings feature_level=5 queue_max_envelopes=40 queue_max_bytes=1052672",
	"changeSettings key_strangers_burst=2 key_contacts_burst=3 key_taken_secs=600 key_claim_burst=50",
	"registerDevice as=+ann device=phone key=+phone by=ann", "registerDevice as=+ann device=lap key=+lap by=ann",
}

// levelFiveLine is a command for the log of level 5: shares of queues and what accounts
// want of others, among what was there before.
func levelFiveLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	if rng.IntN(4) == 0 {
		return levelFourLine(rng, n)
	}
	who := pick("bob", "mal", "mal", "mal", "ann")
	body := " body=" + pick("x", "y*300", "z*20000") + " ttl=" + pick("0", "60", "3600")
	switch rng.IntN(14) {
	case 12:
		return fmt.Sprintf("uploadKeyPackages as=+bob packages=k%d,m%d last=l%d expires=1780000000000", n, n, n)
	case 13:
		return "claimKeyPackages as=+" + pick("ann", "mal") + " of=+bob" + pick("", " oldest=1")
	case 0, 1, 2, 3, 4:
		return "enqueue as=+" + who + " to=+ann" + body + pick("", "", " ephemeral=1")
	case 5:
		return "batchEnqueue as=+" + who + " to=+ann:phone/h,+bob" + body
	case 6:
		return fmt.Sprintf("publishCommit as=+%s group=g%d epoch=1 next=s1 to=+ann%s", who, n, body)
	case 7:
		return fmt.Sprintf("ack to=+ann device=%s seq=%d", pick("phone", "lap"), rng.IntN(n/2+1))
	case 8:
		return "setContacts as=+ann accounts=+bob,+mal standing=" + pick("stranger", "stranger", "contact", "blocked")
	case 9:
		return "createChannel as=+" + pick("ann", "mal") + " peer=+" + pick("ann", "mal", "bob") + " channel=c1"
	case 10:
		return "drain as=+ann:phone to=+ann device=phone limit=2"
	}
	return "expire rows=100"
}

var levelSixAccounts = []string{
	"createAccount name=ann key=+ann", "createAccount name=bob key=+bob",
	"publishCommit as=+ann group=old epoch=1 next=s info=i*900", "changeSettings feature_level=6",
	"changeSettings registration_burst=3 registration_hourly=60 member_invites_daily=4",
	"changeSettings group_records_max=6 group_bytes_max=1048576 group_idle_secs=86400",
	"publishCommit as=+ann group=large epoch=1 next=s info=i*1040000",
}

// levelSixLine is a command for the log of level 6: registrations, invites, refusals and
// what accounts keep in groups, among what was there before.
func levelSixLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	if rng.IntN(4) == 0 {
		return levelFiveLine(rng, n)
	}
	invite := pick("", " invite=t1", " invite=t2", " invite=a1")
	switch rng.IntN(12) {
	case 0, 1, 2:
		return fmt.Sprintf("createAccount name=new%d key=+new%d by=new%d record=r%d handshake=h%d expires=soon%s", n, n, n, rng.IntN(n), rng.IntN(n), invite)
	case 3:
		return "createInvite token=" + pick("t1", "t2") + " uses=" + pick("0", "1", "3") + pick("", " ttl=60", " ttl=3600")
	case 4:
		return "createInvite as=+" + pick("ann", "bob") + " token=a1 uses=" + pick("0", "1", "2")
	case 5:
		return fmt.Sprintf("refuse as=+ann print=%d value=%d id=%d", rng.IntN(3), n, 1+rng.IntN(n))
	case 6:
		return "changeSettings registration=" + pick("0", "0", "0", "1", "2")
	case 7, 8:
		return fmt.Sprintf("publishCommit as=+%s group=g%d epoch=1 next=s info=i*%s", pick("ann", "bob"), rng.IntN(40), pick("0", "700", "9000"))
	case 9, 10:
		return fmt.Sprintf("publishCommit as=+%s group=%s epoch=%d proof=s next=s info=i*%s", pick("ann", "bob"),
			pick("old", fmt.Sprint("g", rng.IntN(40))), 1+rng.IntN(3), pick("0", "900", "9000"))
	}
	return "expire rows=100"
}

var levelSevenBegins = []string{
	"createAccount name=ann key=+ann", "createAccount name=bob key=+bob", "changeSettings feature_level=7",
	"changeNodeKey node=n1 key=k1", "changeNodeKey node=n2 key=k2", "changeNodeKey node=n3 key=k3",
}

// levelSevenLine is a command for the log of level 7: keys of nodes, among what was there
// before.
func levelSevenLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	if rng.IntN(3) == 0 {
		return levelSixLine(rng, n)
	}
	return nodeKeyLine(pick)
}

// recordedAccounts come first: without them most of what follows is refused.
var recordedAccounts = []string{"createAccount name=ann key=ann", "createAccount name=bob key=bob"}

// randomLine is a command for the recorded log: all kinds, good and refused.
func randomLine(rng *rand.Rand, n int) string {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	to := func() string { return "to=" + pick("ann", "bob", "cat", "dog") }
	as := pick("", " as=node", " as=ann", " as=bob:phone")
	id := fmt.Sprintf(" id=%d", []int{n, n, n, 1 + rng.IntN(n)}[rng.IntN(4)])
	channel := pick("", "", " channel=c1", " channel=zeros", " channel=!5")
	body := fmt.Sprintf(" body=b*%d ttl=%s", rng.IntN(200), pick("0", "0", "60", "3600", "86400", "9999999"))
	if rng.IntN(3) == 0 {
		return topicLines[rng.IntN(len(topicLines))](pick) + id
	}
	switch rng.IntN(9) {
	case 0, 1, 2:
		return "enqueue " + to() + channel + body + id + as
	case 3, 4:
		return "batchEnqueue to=" + pick("ann,bob", "ann/h,bob,cat:phone,dog", "cat", "dog,dog", "!31,ann") + channel + body + id + as
	case 5, 6:
		return fmt.Sprintf("ack %s%s seq=%d%s", to(), channel, rng.IntN(20), as)
	case 7:
		return fmt.Sprintf("expire rows=%d", rng.IntN(10))
	}
	return fmt.Sprintf("changeSettings %s%s", pick("queue_max_envelopes=20", "queue_max_envelopes=4", "ttl_max_secs=86400", "unknown=1"), id)
}
