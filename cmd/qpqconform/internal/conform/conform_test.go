package conform_test

import (
	"context"
	"regexp"
	"testing"
	"time"

	"quicproquo/cluster"
	"quicproquo/cmd/qpqconform/internal/conform"
	"quicproquo/testcluster"
)

// A cluster of this project does all that the documents say: every check is ok, on three
// nodes that are learned from one, and no account is left.
func TestClusterConforms(t *testing.T) {
	t.Parallel()
	c := testcluster.StartT(t, testcluster.Options{})
	c.LeaderT(t)
	results := try(t, c, "")
	if len(results) != len(conform.Checks()) {
		t.Errorf("%d checks were made, want %d", len(results), len(conform.Checks()))
	}
	for _, r := range results {
		if r.Seconds > 1 {
			t.Logf("%.1f s: %d %s", r.Seconds, r.Number, r.What)
		}
		if !r.OK {
			t.Errorf("%d %s (%s): %s", r.Number, r.What, r.Section, r.Verdict())
		}
	}
}

func optionsOf(t *testing.T, c *testcluster.Cluster) conform.Options {
	t.Helper()
	secrets, err := cluster.LoadSecrets(c.Node(0).Dir())
	if err != nil {
		t.Fatal(err)
	}
	return conform.Options{Servers: []string{c.Node(0).Address()}, Pin: secrets.Identity.Pin()}
}

// try runs the checks that match.
func try(t *testing.T, c *testcluster.Cluster, only string) []conform.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	w, err := conform.Open(ctx, optionsOf(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Nodes()) != len(c.Nodes()) {
		t.Errorf("learned the nodes %v, want %d of them", w.Nodes(), len(c.Nodes()))
	}
	results := conform.Run(ctx, w, regexp.MustCompile(only), func(conform.Result) {})
	if err := w.Close(ctx); err != nil {
		t.Errorf("clean up: %v", err)
	}
	return results
}
