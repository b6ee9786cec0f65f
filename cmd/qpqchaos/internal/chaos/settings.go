package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"quicproquo/testcluster"
)

// registers are cluster settings as a register: written through any node, read
// linearizably on any. It takes a target whose nodes' engines are at hand: clients
// neither change nor see settings.
type registers struct {
	w       *world
	desk    settingsDesk
	history history
}

// settingsDesk is where a cluster's settings are changed and read.
type settingsDesk interface {
	// proposeOn proposes an entry on a node.
	proposeOn(ctx context.Context, node int, entry []byte) error
	// settingOn reads linearizably on a node.
	settingOn(ctx context.Context, node int, name string) (uint64, error)
}

// registerName is the setting that is used: its value changes nothing here.
const registerName = "username_hold_secs"

// registerDefault is its value at first, in seconds.
const registerDefault = 7_776_000

type registerInput struct {
	write bool
	value uint64
}

type registerOutput struct {
	known bool
	value uint64 // that was read
}

var errNoDesk = errors.New("the workload settings needs level sim: no client changes settings")

func newRegisters(w *world) (*registers, error) {
	desk, ok := w.target.(settingsDesk)
	if !ok {
		return nil, errNoDesk
	}
	return &registers{w: w, desk: desk}, nil
}

func (r *registers) name() string { return "settings" }

func (r *registers) run(ctx, finish context.Context) {
	var wg sync.WaitGroup
	for i := range 2 {
		rng := rand.New(rand.NewPCG(r.w.options.Seed, uint64(300+i)))
		wg.Go(func() {
			for n := uint64(0); ctx.Err() == nil; n++ {
				r.write(finish, 2*i, rng.IntN(r.w.target.nodes()), 1+2*n+uint64(i))
				sleep(ctx, 20*r.w.options.Pace)
			}
		})
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(r.w.options.Seed, uint64(400+i)))
			for ctx.Err() == nil {
				r.read(ctx, 2*i+1, rng.IntN(r.w.target.nodes()))
				sleep(ctx, 10*r.w.options.Pace)
			}
		})
	}
	wg.Wait()
}

// write proposes a value until it is known to be applied.
func (r *registers) write(ctx context.Context, process, node int, value uint64) {
	entry := testcluster.SettingEntry(registerName, value)
	from := time.Since(r.w.began)
	done := r.w.call("settings", fmt.Sprintf("write %d", value))
	var err error
	for {
		short, cancel := context.WithTimeout(ctx, callTime)
		err = r.desk.proposeOn(short, node, entry)
		cancel()
		r.w.ops.Add(1)
		if err == nil || !sleep(ctx, 100*time.Millisecond) {
			break
		}
		node = (node + 1) % r.w.target.nodes()
	}
	done(err)
	if err == nil {
		r.w.wrote()
	}
	r.history.add(r.w, process, from, err == nil, registerInput{true, value}, registerOutput{known: err == nil})
}

func (r *registers) read(ctx context.Context, process, node int) {
	short, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	from := time.Since(r.w.began)
	done := r.w.call("settings", "read")
	value, err := r.desk.settingOn(short, node, registerName)
	r.w.ops.Add(1)
	done(err)
	if err == nil {
		r.history.add(r.w, process, from, true, registerInput{}, registerOutput{true, value})
	}
}

// registerModel: a read gives what was written last.
func registerModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{uint64(registerDefault)} },
		Step: func(state, input, output any) []any {
			in, out := input.(registerInput), output.(registerOutput)
			switch {
			case in.write && !out.known: // it was applied now, or never
				return []any{state, in.value}
			case in.write:
				return []any{in.value}
			case out.value == state.(uint64):
				return []any{state}
			}
			return nil
		},
		Equal: func(a, b any) bool { return a == b },
	}
	return model.ToModel()
}

func (r *registers) check(_ context.Context, s *Summary) {
	r.history.judge(r.w, s, r.name(), "a setting", registerModel())
}
