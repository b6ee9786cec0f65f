package fsm

// twoGen is a bounded cache: lookups go through a young and an old generation;
// when the young one is full it becomes the old one, and what was not used since
// is forgotten. Nothing depends on what it holds: it mirrors committed rows and
// the changes of the batch that is being applied.
type twoGen[K comparable, V any] struct {
	young, old map[K]*V
	limit      int // entries of the young generation
}

func newTwoGen[K comparable, V any](limit int) twoGen[K, V] {
	return twoGen[K, V]{young: make(map[K]*V), limit: limit}
}

func (c *twoGen[K, V]) get(key K) *V {
	if v, ok := c.young[key]; ok {
		return v
	}
	v, ok := c.old[key]
	if ok {
		c.young[key] = v
	}
	return v
}

func (c *twoGen[K, V]) put(key K, v *V) { c.young[key] = v }

// turn ages the cache if it is full. Only between batches: what a batch has
// changed must not be forgotten before it is committed.
func (c *twoGen[K, V]) turn() {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[K]*V, len(c.young))
	}
}
