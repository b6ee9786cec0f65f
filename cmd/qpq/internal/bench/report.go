package bench

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is what was measured. Its JSON fields stay. Times are in microseconds.
type Report struct {
	Workload    string  `json:"workload"`
	Unit        string  `json:"unit"`
	Rate        float64 `json:"rate,omitempty"` // calls due a second; without it the closed loop
	InFlight    int     `json:"inFlight"`
	Connections int     `json:"connections"`
	Accounts    int     `json:"accounts"`
	Size        int     `json:"size"`
	Recipients  int     `json:"recipients,omitempty"`
	Nodes       int     `json:"nodes,omitempty"` // that were started for it
	LogStore    string  `json:"logStore,omitempty"`

	Seconds    float64 `json:"seconds"`
	Calls      int64   `json:"calls"`
	Units      int64   `json:"units"`
	Errors     int64   `json:"errors"`
	FirstError string  `json:"firstError,omitempty"`
	// CallsPerSecond and UnitsPerSecond are of calls that succeeded.
	CallsPerSecond float64 `json:"callsPerSecond"`
	UnitsPerSecond float64 `json:"unitsPerSecond"`

	P50  int64 `json:"p50Us"`
	P90  int64 `json:"p90Us"`
	P99  int64 `json:"p99Us"`
	P999 int64 `json:"p999Us"`
	Max  int64 `json:"maxUs"`

	// Processor time a call, of this process and of all nodes that were started for it;
	// 0 where it is not known.
	ClientCPU float64 `json:"clientCpuUsPerCall,omitempty"`
	NodesCPU  float64 `json:"nodesCpuUsPerCall,omitempty"`

	Series []Second `json:"series"`
	// Percentiles are the curve of the latencies.
	Percentiles []Percentile `json:"percentiles"`
}

// Second is a second of the measurement.
type Second struct {
	At     int   `json:"at"`
	Calls  int64 `json:"calls"`
	Units  int64 `json:"units"`
	P50    int64 `json:"p50Us"`
	P99    int64 `json:"p99Us"`
	Max    int64 `json:"maxUs"`
	Errors int64 `json:"errors"` // so far
}

// Percentile is a point of the curve.
type Percentile struct {
	Percent float64 `json:"percent"`
	Micros  int64   `json:"us"`
}

// summarize fills in what the histogram says.
func (r *Report) summarize(h *hdrhistogram.Histogram) {
	r.P50, r.P90, r.P99 = h.ValueAtPercentile(50), h.ValueAtPercentile(90), h.ValueAtPercentile(99)
	r.P999, r.Max = h.ValueAtPercentile(99.9), h.Max()
	for _, p := range []float64{0, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100} {
		r.Percentiles = append(r.Percentiles, Percentile{p, h.ValueAtPercentile(p)})
	}
	if r.Seconds > 0 {
		r.CallsPerSecond, r.UnitsPerSecond = float64(r.Calls)/r.Seconds, float64(r.Units)/r.Seconds
	}
}

// String is the report for a terminal.
func (r *Report) String() string {
	var b strings.Builder
	loop := "closed loop"
	if r.Rate > 0 {
		loop = fmt.Sprintf("open loop, %.0f due a second", r.Rate)
	}
	fmt.Fprintf(&b, "%s: %s, %d in flight over %d connections, %d bytes, %.1f s\n",
		r.Workload, loop, r.InFlight, r.Connections, r.Size, r.Seconds)
	fmt.Fprintf(&b, "  %.0f calls/s", r.CallsPerSecond)
	if r.Units != r.Calls {
		fmt.Fprintf(&b, ", %.0f %s/s", r.UnitsPerSecond, r.Unit)
	}
	fmt.Fprintf(&b, "   p50 %s  p90 %s  p99 %s  p99.9 %s  max %s\n",
		Micros(r.P50), Micros(r.P90), Micros(r.P99), Micros(r.P999), Micros(r.Max))
	if r.ClientCPU > 0 {
		fmt.Fprintf(&b, "  processor time a call: client %.0f us", r.ClientCPU)
		if r.NodesCPU > 0 {
			fmt.Fprintf(&b, ", all nodes %.0f us", r.NodesCPU)
		}
		fmt.Fprintln(&b)
	}
	if r.Errors > 0 {
		fmt.Fprintf(&b, "  %d errors, the first: %s\n", r.Errors, r.FirstError)
	}
	b.WriteString(r.chart())
	return b.String()
}

// chart draws the calls of each second.
func (r *Report) chart() string {
	const width = 40
	var b strings.Builder
	most := int64(1)
	for _, s := range r.Series {
		most = max(most, s.Calls)
	}
	for _, s := range r.Series {
		fmt.Fprintf(&b, "  %3d s %-*s %8d/s  p99 %s\n", s.At, width, strings.Repeat("█", int(s.Calls*width/most)), s.Calls, Micros(s.P99))
	}
	return b.String()
}

// WriteCSV writes a line a second.
func (r *Report) WriteCSV(to io.Writer) error {
	w := csv.NewWriter(to)
	lines := [][]string{{"second", "calls", "units", "p50_us", "p99_us", "max_us", "errors"}}
	for _, s := range r.Series {
		line := []string{strconv.Itoa(s.At)}
		for _, n := range []int64{s.Calls, s.Units, s.P50, s.P99, s.Max, s.Errors} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		lines = append(lines, line)
	}
	if err := w.WriteAll(lines); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// Micros is a time for people, with three digits or so.
func Micros(us int64) string {
	switch {
	case us < 1000:
		return fmt.Sprintf("%d us", us)
	case us < 100_000:
		return fmt.Sprintf("%.1f ms", float64(us)/1e3)
	case us < 10_000_000:
		return fmt.Sprintf("%d ms", us/1000)
	}
	return fmt.Sprintf("%d s", us/1_000_000)
}
