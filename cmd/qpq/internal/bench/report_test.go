package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func sample() *Report {
	h := newHistogram()
	for i := range int64(1000) {
		_ = h.RecordValue(1000 + i*10) // 1 to 11 ms
	}
	r := &Report{
		Workload: "enqueue", Unit: "envelopes", InFlight: 2, Connections: 1, Accounts: 1, Size: 10, Seconds: 2, Calls: 1000, Units: 16000,
		Errors: 1, FirstError: "<script>alert(1)</script>",
		Series: []Second{{At: 1, Calls: 400, Units: 6400, P50: 5000, P99: 9000, Max: 9500}, {At: 2, Calls: 600, Units: 9600, P99: 11000}},
	}
	r.summarize(h)
	return r
}

// A report says the same as text, JSON, a table and a page.
func TestReportInEveryForm(t *testing.T) {
	r := sample()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var table, html strings.Builder
	if err := r.WriteCSV(&table); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteHTML(&html); err != nil {
		t.Fatal(err)
	}
	for form, c := range map[string]struct{ got, want string }{
		"text":                 {r.String(), "500 calls/s, 8000 envelopes/s   p50 6.0 ms"},
		"text, errors":         {r.String(), "1 errors, the first: <script>"},
		"text, chart":          {r.String(), "  2 s " + strings.Repeat("█", 40) + "      600/s  p99 11.0 ms"},
		"JSON":                 {string(raw), `"callsPerSecond":500,"unitsPerSecond":8000,"p50Us":599`},
		"table":                {table.String(), "1,400,6400,5000,9000,9500,0\n"},
		"page":                 {html.String(), "1000 in 2.0 s: 500/s, 8000 envelopes/s"},
		"page, others' markup": {html.String(), "&lt;script&gt;"},
		"page, plot":           {html.String(), "<polyline points=\"0.0,66.7 720.0,0.0 \"/>"},
	} {
		if !strings.Contains(c.got, c.want) {
			t.Errorf("%s: want %q in\n%s", form, c.want, c.got)
		}
	}
	if strings.Contains(html.String(), "http") || strings.Contains(html.String(), "<script") {
		t.Error("the page asks for something else, or has a script")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	good := Options{Workload: "enqueue", InFlight: 1, Connections: 1, Accounts: 1, Size: 1, Recipients: 1, For: time.Second}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Options){
		`no workload "x"`:       func(o *Options) { o.Workload = "x" },
		"0 in flight":           func(o *Options) { o.InFlight = 0 },
		"9000 connections":      func(o *Options) { o.Connections = 9000 },
		"0 accounts":            func(o *Options) { o.Accounts = 0 },
		"payloads of 9999999":   func(o *Options) { o.Size = 9_999_999 },
		"5000 recipients":       func(o *Options) { o.Recipients = 5000 },
		"rate below 0":          func(o *Options) { o.Rate = -1 },
		"must be above 0":       func(o *Options) { o.For = 0 },
		"e2e has at most 32":    func(o *Options) { o.Workload, o.InFlight = "e2e", 33 },
		"subscribe has at most": func(o *Options) { o.Workload, o.InFlight = "subscribe", 257 },
	} {
		o := good
		spoil(&o)
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
