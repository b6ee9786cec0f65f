package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"

	"quicproquo/cluster"
	"quicproquo/crypto/tlsid"
)

// configFile is the name of the configuration in a node's directory.
const configFile = "node.toml"

// envPrefix starts the name of every environment variable: flag log-store is
// QPQD_LOG_STORE.
const envPrefix = "QPQD_"

// fill gives every flag that was not set on the command line its value from the
// environment, else from the TOML file, else leaves the default. Keys of the
// file are the flags' long names; an unknown key is an error, for a misspelt
// setting must not be ignored.
func fill(flags *pflag.FlagSet, file string, required bool) error {
	values, err := readConfig(file, required)
	if err != nil {
		return err
	}
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		value, inFile := values[f.Name]
		delete(values, f.Name)
		if f.Changed {
			return
		}
		if env, ok := os.LookupEnv(envName(f.Name)); ok {
			if err := flags.Set(f.Name, env); err != nil {
				errs = append(errs, fmt.Errorf("environment %s: %w", envName(f.Name), err))
			}
			return
		}
		if !inFile {
			return
		}
		if err := setFromFile(flags, f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", file, f.Name, err))
		}
	})
	for key := range values {
		errs = append(errs, fmt.Errorf("%s: unknown setting %q: `qpqd run --help` lists them", file, key))
	}
	return errors.Join(errs...)
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func readConfig(file string, required bool) (map[string]any, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	values := map[string]any{}
	if err := toml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return values, nil
}

// setFromFile takes a string, number, boolean or list of strings.
func setFromFile(flags *pflag.FlagSet, name string, value any) error {
	list, ok := value.([]any)
	if !ok {
		return flags.Set(name, fmt.Sprint(value))
	}
	for _, item := range list {
		if err := flags.Set(name, fmt.Sprint(item)); err != nil {
			return err
		}
	}
	return nil
}

// nodeConfig is what `init` writes and `run` reads.
type nodeConfig struct {
	ID      string   `toml:"id" comment:"The node's name for ever."`
	Listen  string   `toml:"listen" comment:"The one UDP port, on this machine."`
	Address string   `toml:"address" comment:"Where the other nodes and clients reach it."`
	Peers   []string `toml:"peers" comment:"The set that the cluster starts from; the same on every node."`
}

func (c nodeConfig) write(dir string) error {
	raw, err := toml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	file := filepath.Join(dir, configFile)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}

// parsePeers reads ID=HOST:PORT.
func parsePeers(texts []string) ([]cluster.Peer, error) {
	peers := make([]cluster.Peer, 0, len(texts))
	for _, text := range texts {
		id, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("node %q is not ID=HOST:PORT, such as n1=10.0.0.1:4430", text)
		}
		peers = append(peers, cluster.Peer{ID: tlsid.NodeID(id), Address: address})
	}
	return peers, nil
}

// loadNodeConfig reads a node's file for commands that need only who is where.
func loadNodeConfig(dir string) (nodeConfig, error) {
	file := filepath.Join(dir, configFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		return nodeConfig{}, fmt.Errorf("read configuration: %w", err)
	}
	var config nodeConfig
	if err := toml.Unmarshal(raw, &config); err != nil {
		return nodeConfig{}, fmt.Errorf("read configuration %s: %w", file, err)
	}
	return config, nil
}
