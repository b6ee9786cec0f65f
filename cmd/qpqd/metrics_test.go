package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"quicproquo/fsm"
	"quicproquo/rpc"
	"quicproquo/schemas"
	"quicproquo/testcluster"
)

// A scrape shows what each node is and has counted, every limit with its value,
// and a node that is down as down.
func TestMetrics(t *testing.T) {
	c := testcluster.StartT(t, testcluster.Options{Nodes: 1, MemoryStore: true, Limits: rpc.Limits{Rates: rpc.DefaultRates(), Conns: 77}})
	n := c.Node(0)
	client, err := n.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	c.LeaderT(t)
	for range 3 {
		if _, err := client.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	handler := metricsHandler([]observed{{string(n.ID()), n.Engine, n.Server}})
	page := scrape(t, handler)
	for _, want := range []string{
		`qpq_up{node="n1"} 1`,
		`qpq_raft_leader{node="n1"} 1`,
		`qpq_raft_lag_entries{node="n1"} 0`,
		`qpq_disk_read_only{node="n1"} 0`,
		`qpq_connections{node="n1"} 1`,
		`qpq_unauthenticated_addresses{node="n1"} 1`,
		`qpq_rate_limited_total{by="address",class="login",node="n1"} 0`,
		fmt.Sprintf(`qpq_member{address=%q,id="n1",node="n1"} 1`, n.Address()),
		`qpq_calls_total{code="OK",method="health",node="n1"} 3`,
		`qpq_limit{name="server.Conns",node="n1"} 77`,
		`qpq_limit{name="server.Idle",node="n1"} 180`,
		`qpq_limit{name="endpoint.MaxHandshakes",node="n1"} 1024`,
		`qpq_limit{name="rate.send.device.burst",node="n1"} 60`,
		`qpq_limit{name="rate.send.device.perSecond",node="n1"} 2`,
		`qpq_limit{name="method.enqueue.bytes",node="n1"} 1.052672e+06`,
		`go_goroutines `,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, name := range documentedMetrics(t) {
		if !strings.Contains(page, name+"{") {
			t.Errorf("docs/operations.md names %s, which is no metric", name)
		}
	}
	for _, l := range schemas.Limits() {
		if !strings.Contains(page, `qpq_limit{name="protocol.`+l.Name+`",`) {
			t.Errorf("the page lacks the limit %s", l.Name)
		}
	}
	for _, s := range fsm.Settings() {
		if want := fmt.Sprintf("qpq_limit{name=\"setting.%s\",node=\"n1\"} %v\n", s.Name, float64(s.Default)); !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if page := scrape(t, handler); !strings.Contains(page, `qpq_up{node="n1"} 0`) || strings.Contains(page, "qpq_raft") {
		t.Error("a node that is down shows more than that")
	}
}

// documentedMetrics are the names of metrics in docs/operations.md.
func documentedMetrics(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bqpq_[a-z_]+`).FindAllString(string(page), -1)
	if len(names) < 20 {
		t.Fatalf("docs/operations.md names %d metrics: this tests little", len(names))
	}
	return names
}

func scrape(t *testing.T, handler http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}
