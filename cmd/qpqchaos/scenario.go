package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"quicproquo/cluster/raftlog"
	"quicproquo/cmd/qpqchaos/internal/chaos"
)

// scenarioVersion changes when old files no longer mean the same.
const scenarioVersion = 1

// scenario is a run as a file: what the seed drew is written out, so that a file can
// be cut to fewer faults by hand.
type scenario struct {
	Version   int           `json:"version"`
	Level     chaos.Level   `json:"level"`
	Nodes     int           `json:"nodes"`
	For       time.Duration `json:"for"`
	Seed      uint64        `json:"seed"`
	Pace      time.Duration `json:"pace"`
	Workloads []string      `json:"workloads,omitempty"`
	Disks     bool          `json:"disks,omitempty"`
	WeakDisks bool          `json:"weakDisks,omitempty"`
	LogStore  raftlog.Kind  `json:"logStore,omitempty"`
	Other     string        `json:"other,omitempty"`
	MTU       int           `json:"mtu,omitempty"`
	Faults    []chaos.Fault `json:"faults"`
}

func saveScenario(file string, o chaos.Options) error {
	raw, err := json.MarshalIndent(scenario{
		scenarioVersion, o.Level, o.Nodes, o.For, o.Seed, o.Pace, o.Workloads, o.Disks, o.WeakDisks, o.LogStore, o.Other, o.MTU, o.Faults,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, append(raw, '\n'), 0o600); err != nil {
		return fmt.Errorf("save the scenario: %w", err)
	}
	return nil
}

func loadScenario(file string) (o chaos.Options, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return o, fmt.Errorf("read the scenario: %w", err)
	}
	s := scenario{}
	if err := json.Unmarshal(raw, &s); err != nil {
		return o, fmt.Errorf("read the scenario %s: %w", file, err)
	}
	if s.Version != scenarioVersion {
		return o, fmt.Errorf("the scenario %s has version %d, this program knows %d", file, s.Version, scenarioVersion)
	}
	o = chaos.Options{
		Level: s.Level, Nodes: s.Nodes, For: s.For, Seed: s.Seed, Pace: s.Pace, Workloads: s.Workloads, Disks: s.Disks,
		WeakDisks: s.WeakDisks, LogStore: s.LogStore, Other: s.Other, MTU: s.MTU, Faults: s.Faults,
	}
	if o.Faults == nil {
		o.Faults = []chaos.Fault{} // none, not what the seed draws
	}
	return o, nil
}
