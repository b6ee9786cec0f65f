package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("report").Funcs(template.FuncMap{"micros": Micros}).Parse(pageText))

// plot is a line in a drawing of plotWidth by plotHeight.
type plot struct {
	Title  string
	Points string // SVG
	Most   string // at the upper end
	Ticks  []tick
}

type tick struct {
	X    float64
	Text string
}

const (
	plotWidth  = 720
	plotHeight = 200
)

// WriteHTML writes a page that needs nothing else.
func (r *Report) WriteHTML(to io.Writer) error {
	err := page.Execute(to, struct {
		*Report
		Plots         []plot
		Width, Height int
	}{r, []plot{r.throughput(), r.late(), r.curve()}, plotWidth, plotHeight})
	if err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

func (r *Report) throughput() plot {
	return r.series("calls each second", func(s *Second) int64 { return s.Calls }, func(n int64) string { return fmt.Sprint(n, "/s") })
}

func (r *Report) late() plot {
	return r.series("p99 of each second", func(s *Second) int64 { return s.P99 }, Micros)
}

// series plots a value of each second.
func (r *Report) series(title string, value func(*Second) int64, text func(int64) string) plot {
	most := int64(1)
	for i := range r.Series {
		most = max(most, value(&r.Series[i]))
	}
	p := plot{Title: title, Most: text(most)}
	var b strings.Builder
	for i := range r.Series {
		x := float64(plotWidth) * float64(i) / float64(max(len(r.Series)-1, 1))
		fmt.Fprintf(&b, "%.1f,%.1f ", x, plotHeight*(1-float64(value(&r.Series[i]))/float64(most)))
		if len(r.Series) <= 12 || i%(len(r.Series)/6) == 0 {
			p.Ticks = append(p.Ticks, tick{x, fmt.Sprint(r.Series[i].At, " s")})
		}
	}
	p.Points = b.String()
	return p
}

// curve plots the latencies over the percentiles, both logarithmic: each step to the right
// is a tenth of the calls that remain.
func (r *Report) curve() plot {
	p := plot{Title: "latency by percentile (both scales are logarithmic)", Most: Micros(r.Max)}
	var b strings.Builder
	low, high := math.Inf(1), math.Log(float64(max(r.Max, 2)))
	for _, c := range r.Percentiles {
		low = min(low, math.Log(float64(max(c.Micros, 1))))
	}
	for _, c := range r.Percentiles {
		if c.Percent == 100 {
			continue
		}
		x := plotWidth * -math.Log10(1-c.Percent/100) / 4
		y := plotHeight * (1 - (math.Log(float64(max(c.Micros, 1)))-low)/max(high-low, 1e-9))
		fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
		switch c.Percent {
		case 0, 50, 90, 99, 99.9, 99.99:
			p.Ticks = append(p.Ticks, tick{x, fmt.Sprintf("%v %% %s", c.Percent, Micros(c.Micros))})
		}
	}
	p.Points = b.String()
	return p
}
