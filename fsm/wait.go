package fsm

import "container/heap"

// waiters are the calls of Wait, the lowest index first. They are bounded by
// the number of callers.
type waiters struct {
	heap waiterHeap
}

type waiter struct {
	index    uint64
	ready    chan struct{}
	position int // in the heap; -1 when it has left
}

func (w *waiters) add(index uint64) *waiter {
	one := &waiter{index: index, ready: make(chan struct{})}
	heap.Push(&w.heap, one)
	return one
}

// remove tells whether the waiter was still waiting.
func (w *waiters) remove(one *waiter) bool {
	if one.position < 0 {
		return false
	}
	heap.Remove(&w.heap, one.position)
	return true
}

// wake lets everyone go who waits for an index that has been reached.
func (w *waiters) wake(index uint64) {
	for len(w.heap) > 0 && w.heap[0].index <= index {
		one := w.heap[0]
		heap.Pop(&w.heap)
		close(one.ready)
	}
}

// waiterHeap implements heap.Interface.
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].index < h[j].index }

func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

// Push is heap.Interface's.
func (h *waiterHeap) Push(x any) {
	one, ok := x.(*waiter)
	if !ok {
		panic("only waiters are pushed")
	}
	one.position = len(*h)
	*h = append(*h, one)
}

// Pop is heap.Interface's.
func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	one := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	one.position = -1
	return one
}
