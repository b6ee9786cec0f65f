// Package settings gives flags their values: from the command line, else from the
// environment, else from TOML files, else the default.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/pflag"
)

// Source says where a program's settings come from.
type Source struct {
	// EnvPrefix starts the name of every environment variable: with QPQD_ flag
	// log-store is QPQD_LOG_STORE.
	EnvPrefix string
	// Help is the command that lists the settings.
	Help string
	// Known tells of a key that is no flag of this command whether it is one of
	// another's; nil: none is.
	Known func(key string) bool
}

// Fill gives every flag that was not set on the command line its value from the
// environment, else from values, else leaves the default. Keys are the flags' long
// names; an unknown key is an error, for a misspelt setting must not be ignored.
func (s Source) Fill(flags *pflag.FlagSet, files ...File) error {
	var errs []error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			return
		}
		name := s.EnvName(f.Name)
		if env := os.Getenv(name); env != "" { // set and empty is not set
			if err := flags.Set(f.Name, env); err != nil {
				errs = append(errs, fmt.Errorf("environment %s: %w", name, err))
			}
			return
		}
		for _, file := range files {
			if value, ok := file.Values[f.Name]; ok {
				if err := set(flags, f.Name, value); err != nil {
					errs = append(errs, fmt.Errorf("%s: %s: %w", file.Name, f.Name, err))
				}
				return
			}
		}
	})
	for _, file := range files {
		for key := range file.Values {
			if flags.Lookup(key) == nil && (s.Known == nil || !s.Known(key)) {
				errs = append(errs, fmt.Errorf("%s: unknown setting %q: `%s` lists them", file.Name, key, s.Help))
			}
		}
	}
	return errors.Join(errs...)
}

// EnvName is the environment variable of a flag.
func (s Source) EnvName(flag string) string {
	return s.EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// File is a TOML file that was read.
type File struct {
	Name   string
	Values map[string]any
}

// ReadFile reads a TOML file; one that does not exist is empty, unless it is
// required.
func ReadFile(name string, required bool) (File, error) {
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !required {
		return File{Name: name}, nil
	}
	if err != nil {
		return File{}, fmt.Errorf("read configuration: %w", err)
	}
	values := map[string]any{}
	if err := toml.Unmarshal(raw, &values); err != nil {
		return File{}, fmt.Errorf("read configuration %s: %w", name, err)
	}
	return File{name, values}, nil
}

// set takes a string, number, boolean or list of strings.
func set(flags *pflag.FlagSet, name string, value any) error {
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
