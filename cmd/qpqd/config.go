package main

import (
	"github.com/spf13/pflag"

	"quicproquo/cmd/internal/settings"
)

// envPrefix starts the name of every environment variable: flag log-store is
// QPQD_LOG_STORE.
const envPrefix = "QPQD_"

// fill gives the flags that were not set on the command line their values.
func fill(flags *pflag.FlagSet, file string, required bool) error {
	values, err := settings.ReadFile(file, required)
	if err != nil {
		return err
	}
	return settings.Source{EnvPrefix: envPrefix, Help: "qpqd run --help"}.Fill(flags, values)
}
