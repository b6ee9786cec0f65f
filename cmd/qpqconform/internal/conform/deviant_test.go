package conform_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"github.com/quic-go/quic-go"

	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/schemas"
	"quicproquo/testcluster"
	"quicproquo/testcluster/liar"
)

// deviant changes what passes a front.
type deviant struct {
	before, after func(*liar.Call) error
}

func (d *deviant) Connected(*quic.Conn) {}

func (d *deviant) Before(c *liar.Call) error {
	if d.before == nil {
		return nil
	}
	return d.before(c)
}

func (d *deviant) After(c *liar.Call) error {
	if d.after == nil {
		return nil
	}
	return d.after(c)
}

// deviations are servers that are not as documented, and the check that must fail.
var deviations = []struct {
	name, lie string
	watch     func() *deviant
	check     string // a part of its text
}{
	{name: "request-id-alone", watch: requestIDAlone, check: "another command under a known id"},
	{name: "no dedupe", watch: noDedupe, check: "so is one whose answer nobody took"},
	{name: "numbers have gaps", watch: answering("enqueue", results(func(r schemas.EnqueueResults) { r.SetSeq(2 * r.Seq()) })), check: "envelopes have numbers without gaps"},
	{name: "a message is written twice", lie: "* enqueue: twice", check: "envelopes have numbers without gaps"},
	{name: "two messages change places", lie: "* peek: swap", check: "envelopes have numbers without gaps"},
	{name: "reading removes", watch: answering("fetch", results(func(r schemas.FetchResults) { _, _ = r.NewPayloads(0) })), check: "reading removes nothing"},
	{name: "ack counts wrongly", watch: answering("ack", results(func(r schemas.AckResults) { r.SetRemoved(1) })), check: "reading removes nothing"},
	{name: "a key package is handed out twice", lie: "* fetchKeyPackage: again", check: "key packages are handed out once"},
	{name: "time goes back", watch: answering("whoami", func(c *liar.Call) error { c.Response.SetIndex(1); return nil }), check: "answers never go back in time"},
	{name: "two commits win", watch: answering("publishCommit", twoWinners), check: "of commits for one epoch"},
	{name: "E049 names no index", watch: answering("resolveUser", func(c *liar.Call) error { return changeFailure(c, 49, func(f schemas.Failure) { f.SetValue(0) }) }), check: "an index that is not there yet"},
	{name: "a fifth subscription is told to wait 0 ms", watch: fifthWithoutWait, check: "a fifth subscription"},
	{name: "fetchWait waits on", watch: answering("fetchWait", func(c *liar.Call) error {
		if failed(c) != 0 {
			return nil
		}
		select {
		case <-time.After(5 * time.Second):
		case <-c.Context().Done():
		}
		return nil
	}), check: "fetchWait ends when its time is over"},
	{name: "a commit names another epoch", watch: answering("publishCommit", results(func(r schemas.PublishCommitResults) { r.SetEpoch(r.Epoch() + 1) })), check: "the first commit makes the record"},
	{name: "a revoked session lives", watch: answering("whoami", func(c *liar.Call) error {
		if failed(c) != schemas.Code_tokenInvalid {
			return nil
		}
		return c.Refuse(schemas.Code_bindingRequired, 0, 0)
	}), check: "a session that has ended"},
	{name: "whoami tells another's name", watch: answering("whoami", results(func(r schemas.WhoamiResults) { _ = r.SetUsername("somebody") })), check: "a name and a password are enough"},
}

// answering changes the responses of a method.
func answering(method string, change func(*liar.Call) error) func() *deviant {
	return func() *deviant {
		return &deviant{after: func(c *liar.Call) error {
			if c.Method != method {
				return nil
			}
			return change(c)
		}}
	}
}

// results changes the results of a call that has gone well.
func results[R ~capnp.StructKind](change func(R)) func(*liar.Call) error {
	return func(c *liar.Call) error {
		if failed(c) != 0 {
			return nil
		}
		ptr, err := c.Response.Results()
		if err == nil {
			change(R(ptr.Struct()))
		}
		return err
	}
}

// failed is the code of a response, 0 for success.
func failed(c *liar.Call) schemas.Code {
	if c.Response.Which() != schemas.Response_Which_error {
		return 0
	}
	failure, err := c.Response.Error()
	if err != nil {
		return schemas.Code_internal
	}
	return failure.Code()
}

func changeFailure(c *liar.Call, code schemas.Code, change func(schemas.Failure)) error {
	if failed(c) != code {
		return nil
	}
	failure, err := c.Response.Error()
	if err == nil {
		change(failure)
	}
	return err
}

// requestIDAlone is the fault of that name: what the first call of an id was answered,
// all others are.
func requestIDAlone() *deviant {
	var mu sync.Mutex
	first := map[string][]byte{}
	key := func(c *liar.Call) string {
		id, _ := c.Request.RequestId()
		return c.Who + string(id)
	}
	return &deviant{before: func(c *liar.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if frame := first[key(c)]; frame != nil && c.Request.HasRequestId() {
			return c.Answer(frame)
		}
		return nil
	}, after: func(c *liar.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if first[key(c)] != nil || failed(c) != 0 {
			return nil
		}
		frame, err := c.Frame()
		first[key(c)] = frame
		return err
	}}
}

// noDedupe gives each call a request id of its own.
func noDedupe() *deviant {
	return &deviant{before: func(c *liar.Call) error {
		if c.Method != "enqueue" {
			return nil
		}
		return c.Request.SetRequestId(fmt.Appendf(nil, "%016d", time.Now().UnixNano()%1e16))
	}}
}

// twoWinners tells who has lost an epoch that he has won it.
func twoWinners(c *liar.Call) error {
	if failed(c) != schemas.Code_epochConflict {
		return nil
	}
	results, err := schemas.NewPublishCommitResults(c.Response.Segment())
	if err != nil {
		return err
	}
	results.SetEpoch(2)
	return c.Response.SetResults(results.ToPtr())
}

func fifthWithoutWait() *deviant {
	return &deviant{after: func(c *liar.Call) error {
		return changeFailure(c, schemas.Code_rateLimited, func(f schemas.Failure) { f.SetRetryAfterMs(0) })
	}}
}

// The checks can fail: each of these servers, which are the project's own behind
// something that changes what they say, fails the check that is there for it, and without
// the change it does not.
func TestDeviationsAreSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("many servers one after the other; TestClusterConforms has what the race detector looks for")
	}
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1})
	c.LeaderT(t)
	honest := map[string]bool{}
	var all []string
	for _, d := range deviations {
		all = append(all, regexp.QuoteMeta(d.check))
	}
	for _, r := range throughFront(t, c, "", &deviant{}, strings.Join(all, "|")) {
		if !r.OK {
			t.Errorf("an honest server: %d %s: %s", r.Number, r.What, r.Verdict())
		}
		honest[r.What] = r.OK
	}
	for _, d := range deviations {
		watch := &deviant{}
		if d.watch != nil {
			watch = d.watch()
		}
		begin := time.Now()
		results := throughFront(t, c, d.lie, watch, regexp.QuoteMeta(d.check))
		if len(results) != 1 || !honest[results[0].What] {
			t.Errorf("%s: %d checks match %q, want one that an honest server passes", d.name, len(results), d.check)
			continue
		}
		t.Logf("%.1f s: %s", time.Since(begin).Seconds(), d.name)
		if r := results[0]; r.OK || r.Skipped || !strings.Contains(r.Problem, "got") {
			t.Errorf("%s: check %d %s says %q, want that it failed with what was got and wanted", d.name, r.Number, r.What, r.Verdict())
		}
	}
}

// throughFront runs checks of a node through a front.
func throughFront(t *testing.T, c *testcluster.Cluster, lie string, watch liar.Watcher, only string) []conform.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	f, err := liar.Start(ctx, liar.Options{Node: func() *testcluster.Node { return c.Node(0) }, Watch: watch})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Errorf("close the front: %v", err)
		}
	}()
	if err := f.Lie("* health: empty\n" + lie); err != nil {
		t.Fatal(err)
	}
	o := optionsOf(t, c)
	o.Servers = []string{f.Address()}
	w, err := conform.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	results := conform.Run(ctx, w, regexp.MustCompile(only), func(conform.Result) {})
	_ = w.Close(ctx) // a server that is not as documented need not let them go
	return results
}
