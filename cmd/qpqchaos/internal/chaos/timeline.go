package chaos

import (
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// timeline is what happened of late: the calls, the faults, the violations. It stops a
// while after the first violation, so that a picture shows what led there. mu guards
// all.
type timeline struct {
	mu    sync.Mutex
	spans []porcupine.Annotation // a ring
	next  int
	until time.Duration // nothing that begins later is kept; 0: no end yet
	// judged are histories that have no order, as their models see them.
	judged []judged
}

type judged struct {
	model porcupine.Model
	info  porcupine.LinearizationInfo
}

const (
	// maxSpans is how many calls a picture shows: more than that nobody reads.
	maxSpans = 3000
	// afterwards is how long a timeline goes on after the first violation.
	afterwards = 5 * time.Second
)

// Colours of a timeline, apart also for those who see few colours.
const (
	faultColour     = "#ffd166"
	violationColour = "#d1495b"
	failedColour    = "#c9c9c9"
	callColour      = "#cfe8ff"
)

func (t *timeline) add(a porcupine.Annotation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until > 0 && a.Start > t.until.Nanoseconds() {
		return
	}
	if len(t.spans) < maxSpans {
		t.spans = append(t.spans, a)
		return
	}
	t.spans[t.next] = a
	t.next = (t.next + 1) % maxSpans
}

// call notes that somebody calls; the function that it returns, how that ended.
func (w *world) call(who, what string) func(error) {
	from := time.Since(w.began)
	return func(err error) {
		a := porcupine.Annotation{
			Tag: who, Start: from.Nanoseconds(), End: time.Since(w.began).Nanoseconds(), Description: what, BackgroundColor: callColour,
		}
		if err != nil {
			a.Details, a.BackgroundColor = err.Error(), failedColour
		}
		w.timeline.add(a)
	}
}

// violated notes a violation.
func (t *timeline) violated(v Violation) {
	t.add(porcupine.Annotation{
		Tag: "violations", Start: v.At.Nanoseconds(), End: v.At.Nanoseconds(), Description: v.Workload, Details: v.What,
		BackgroundColor: violationColour,
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.until == 0 {
		t.until = v.At + afterwards
	}
}

// suffered notes a fault.
func (t *timeline) suffered(f Fault, from, to time.Duration) {
	t.add(porcupine.Annotation{
		Tag: "faults", Start: from.Nanoseconds(), End: to.Nanoseconds(), Description: string(f.Kind),
		Details: fmt.Sprintf("node %d, for %s", f.Node, f.For), BackgroundColor: faultColour,
	})
}

// reject keeps the history that a model has rejected.
func (t *timeline) reject(model porcupine.Model, info porcupine.LinearizationInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judged = append(t.judged, judged{model, info})
}

// draw writes pictures that a browser shows, beside each other: base-1.html and so on.
// It returns their names.
func (t *timeline) draw(base string) (files []string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.judged
	if len(list) == 0 {
		empty := porcupine.Model{Init: func() any { return nil }, Step: func(any, any, any) (bool, any) { return true, nil }}
		_, info := porcupine.CheckOperationsVerbose(empty, nil, 0)
		list = []judged{{empty, info}}
	}
	for i, one := range list {
		one.info.AddAnnotations(t.spans)
		file := fmt.Sprintf("%s-%d.html", base, i+1)
		if err := porcupine.VisualizePath(one.model, one.info, file); err != nil {
			return files, fmt.Errorf("draw the timeline: %w", err)
		}
		files = append(files, file)
	}
	return files, nil
}
