package chaos

import (
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what a workload's callers did, for a model to judge. mu guards ops.
type history struct {
	mu  sync.Mutex
	ops []porcupine.Operation
}

// forever is later than any run ends.
const forever = 1000 * time.Hour

// add notes a call that began at from, since the run began, and has just ended. One of
// which it is not known whether it took effect may do so at any later time.
func (h *history) add(w *world, process int, from time.Duration, known bool, in, out any) {
	end := time.Since(w.began)
	if !known {
		end = from + forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: process, Input: in, Output: out, Call: from.Nanoseconds(), Return: end.Nanoseconds()})
}

// judge lets porcupine look for an order that explains the history.
func (h *history) judge(w *world, s *Summary, workload, what string, model porcupine.Model) {
	result, info := porcupine.CheckOperationsVerbose(model, h.ops, time.Minute)
	switch result {
	case porcupine.Ok:
	case porcupine.Unknown:
		s.Linearizable = false
		w.tell("the history of %s, %d calls, could not be judged in a minute", what, len(h.ops))
	default:
		s.Linearizable = false
		w.timeline.reject(model, info)
		w.violation(workload, "the history of %s, %d calls, has no order that explains it", what, len(h.ops))
	}
}
