package bench

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"quicproquo/client"
	"quicproquo/schemas"
)

// Options say what is measured.
type Options struct {
	Workload string
	// InFlight is how many calls are in flight at once: the workers. In the open loop, at
	// most so many.
	InFlight int
	// Connections are what the workers share.
	Connections int
	// Accounts are who call: connections share them.
	Accounts int
	// Rate is how many calls are due a second (open loop); 0: the closed loop.
	Rate float64
	// Size is a payload's, in bytes.
	Size int
	// Recipients is how many queues a call of batch and fanout fills.
	Recipients int
	// Warmup passes before anything is counted, For is how long is counted.
	Warmup, For time.Duration
	// Dial returns how the cluster is reached, with a socket of its own. Nil: a cluster is
	// started, see Nodes.
	Dial func() (client.Options, error)
	// Nodes says how a cluster is started.
	Nodes NodeOptions
	// Dir is for what it writes meanwhile: nodes, vaults.
	Dir string
	// Progress gets a line a second; nil: nobody.
	Progress func(Second)
}

// NodeOptions say how a cluster is started.
type NodeOptions struct {
	Program  string // qpqd
	Count    int
	LogStore string
}

// Limits of what may be asked.
const (
	maxInFlight    = 8192
	maxConnections = 8192
	maxAccounts    = 256
)

// Check says what is wrong with the options.
func (o *Options) Check() error {
	w, ok := find(o.Workload)
	switch {
	case !ok:
		return fmt.Errorf("there is no workload %q: choose one of %s", o.Workload, strings.Join(Names(), ", "))
	case o.InFlight < 1 || o.InFlight > maxInFlight:
		return fmt.Errorf("%d in flight: choose 1 to %d", o.InFlight, maxInFlight)
	case o.Connections < 1 || o.Connections > maxConnections:
		return fmt.Errorf("%d connections: choose 1 to %d", o.Connections, maxConnections)
	case o.Accounts < 1 || o.Accounts > maxAccounts:
		return fmt.Errorf("%d accounts: choose 1 to %d", o.Accounts, maxAccounts)
	case o.Size < 1 || o.Size > schemas.MaxBody:
		return fmt.Errorf("payloads of %d bytes: choose 1 to %d", o.Size, schemas.MaxBody)
	case o.Recipients < 1 || o.Recipients > schemas.MaxRecipients:
		return fmt.Errorf("%d recipients: choose 1 to %d", o.Recipients, schemas.MaxRecipients)
	case o.Rate < 0:
		return errors.New("a rate below 0: leave it away for the closed loop")
	case o.For <= 0 || o.Warmup < 0:
		return errors.New("the time to measure must be above 0, and the warm-up not below")
	case w.few > 0 && o.InFlight > w.few:
		return fmt.Errorf("%s has at most %d in flight, each a pair of clients of its own", w.Name, w.few)
	}
	return nil
}

// Names are the workloads'.
func Names() []string {
	names := make([]string, 0, len(workloads))
	for i := range workloads {
		names = append(names, workloads[i].Name)
	}
	return names
}

// About describes the workloads, a line each.
func About() string {
	var b strings.Builder
	for i := range workloads {
		fmt.Fprintf(&b, "  %-10s %s\n", workloads[i].Name, workloads[i].About)
	}
	return strings.TrimRight(b.String(), "\n")
}

func find(name string) (*workload, bool) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.Name == name })
	if i < 0 {
		return nil, false
	}
	return &workloads[i], true
}
