package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"quicproquo/cluster"
	"quicproquo/fsm"
)

func settingsCommand() *cobra.Command {
	var dir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "settings",
		Short: "Show the settings of the whole cluster",
		Long: `Shows every cluster setting as the running cluster has it, with its default and unit:
limits that every node applies alike. ` + "`qpqd set`" + ` changes them; docs/settings.md says what
each does. The settings of one node are in its node.toml (` + "`qpqd run --help`" + `).

Works from any machine that has one node's directory, whether or not that node runs.`,
		Example: `  qpqd settings
  qpqd settings --json --dir /var/lib/qpqd | jq '.[] | select(.value != .default)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			values, err := readClusterSettings(cmd.Context(), dir)
			if err != nil {
				return err
			}
			rows := settingRows(values)
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(rows)
			}
			return printSettings(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", devDir, "a node's directory, or one that holds several")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print an array of objects")
	return cmd
}

func readClusterSettings(ctx context.Context, dir string) ([]cluster.SettingValue, error) {
	peers, identity, err := readNode(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, operateTime)
	defer cancel()
	conn, err := openSocket()
	if err != nil {
		return nil, err
	}
	values, err := cluster.ReadSettings(ctx, conn, identity, peers, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, exitError{exitIO, err}
	}
	return values, nil
}

// settingRow is one setting in the output; the names of the JSON fields stay.
type settingRow struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
	// Word is what the value is called, where it has a name.
	Word string `json:"word,omitempty"`
	// Default and Unit are missing for a setting that only newer builds know.
	Default *uint64 `json:"default,omitempty"`
	Unit    string  `json:"unit,omitempty"`
}

// settingRows are in the cluster's order.
func settingRows(values []cluster.SettingValue) []settingRow {
	known := map[string]fsm.Setting{}
	for _, s := range fsm.Settings() {
		known[s.Name] = s
	}
	rows := make([]settingRow, 0, len(values))
	for _, v := range values {
		row := settingRow{Name: v.Name, Value: v.Value}
		if s, is := known[v.Name]; is {
			row.Default, row.Unit, row.Word = &s.Default, s.Unit, wordOf(&s, v.Value)
		}
		rows = append(rows, row)
	}
	return rows
}

func wordOf(s *fsm.Setting, value uint64) string {
	if value < uint64(len(s.Words)) {
		return s.Words[value]
	}
	return ""
}

// printSettings marks values that are not the default's with an asterisk. The text of a
// node's is quoted where it is none of the names that this build knows.
func printSettings(w io.Writer, rows []settingRow) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tVALUE\tDEFAULT\tUNIT")
	for _, r := range rows {
		if r.Default == nil {
			fmt.Fprintf(table, "%q\t%d\t-\tonly newer builds know it\n", r.Name, r.Value)
			continue
		}
		value := strconv.FormatUint(r.Value, 10)
		if r.Word != "" {
			value += " (" + r.Word + ")"
		}
		if r.Value != *r.Default {
			value += " *"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", r.Name, value, *r.Default, r.Unit)
	}
	_, err := fmt.Fprintln(table, "\n* not the default")
	return errors.Join(err, table.Flush())
}
