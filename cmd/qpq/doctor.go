package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/client/vault"
	"quicproquo/cmd/qpq/internal/plain"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Check everything that can be wrong on this side",
		Long: `Checks the configuration, the profile's files and rights, the vault page by page,
each node (address, reachability, certificate, state), the session, the key
packages, and what waits. Says what to do about each finding; the exit code is
that of the worst.`,
		Example: "  qpq doctor\n  qpq doctor --json",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), a.options.timeout)
			defer cancel()
			a.keep = true
			defer func() { clear(a.again) }()
			return (&doctor{app: a}).examine(ctx)
		},
	}
}

// doctor examines this side; worst is the first error that was found.
type doctor struct {
	*app
	worst error
}

// errUnwell is what doctor ends with when something is wrong.
type errUnwell struct{ cause error }

func (e errUnwell) Error() string { return "something is wrong: see above" }
func (e errUnwell) Unwrap() error { return e.cause }

func (d *doctor) examine(ctx context.Context) error {
	if err := errors.Join(d.settings(), d.files(), d.vaultPages()); err != nil {
		return err
	}
	if err := errors.Join(d.nodes(ctx), d.account(ctx)); err != nil {
		return err
	}
	if d.worst != nil {
		return errUnwell{d.worst}
	}
	return nil
}

// checkRecord is one finding.
type checkRecord struct {
	header
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code,omitempty"`
	Hint   string `json:"hint,omitempty"`
	Next   string `json:"next,omitempty"`
}

func (*checkRecord) kind() string { return "check" }
func (r *checkRecord) line() string {
	mark := "ok   "
	if !r.OK {
		mark = "WRONG"
	}
	text := fmt.Sprintf("%s  %-12s %s", mark, r.Check, plain.Line(strings.ReplaceAll(r.Detail, "\n", "; ")))
	if r.Hint != "" {
		text += "\n                    " + plain.Line(r.Hint)
	}
	if r.Next != "" {
		text += "\n                    next: " + plain.Line(r.Next)
	}
	return text
}

// found reports a finding; err nil is a good one.
func (d *doctor) found(check, detail string, err error) error {
	r := &checkRecord{Check: check, OK: err == nil, Detail: detail}
	if err != nil {
		p := explain(err)
		r.Detail, r.Code, r.Hint, r.Next = p.Message, p.Code, p.Hint, p.Next
		if r.Next == "qpq doctor" {
			r.Next = ""
		}
		if d.worst == nil {
			d.worst = err
		}
	}
	return d.print(r)
}

func (d *doctor) settings() error {
	detail := d.options.config
	if _, err := os.Stat(d.options.config); errors.Is(err, fs.ErrNotExist) {
		detail = "no configuration file, none is needed"
	}
	return d.found("settings", detail, nil)
}

func (d *doctor) files() error {
	info, err := os.Stat(d.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return d.found("files", "", fmt.Errorf("profile %q: %w", d.options.profile, client.ErrNotRegistered))
	}
	if err != nil {
		return d.found("files", "", err)
	}
	var open []string
	if info.Mode().Perm()&0o077 != 0 {
		open = append(open, d.dir())
	}
	entries, err := os.ReadDir(d.dir())
	if err != nil {
		return d.found("files", "", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o077 != 0 {
			open = append(open, filepath.Join(d.dir(), e.Name()))
		}
	}
	if len(open) > 0 {
		err = usage("other users of this machine can read %s: chmod -R go= %s", strings.Join(open, ", "), d.dir())
	}
	return d.found("files", d.dir(), err)
}

func (d *doctor) vaultPages() error {
	if !d.exists() {
		return nil
	}
	v, err := d.vault()
	if err != nil {
		return d.found("vault", "", err)
	}
	return d.found("vault", "unlocked, every page is whole", errors.Join(v.Check(), v.Close()))
}

func (d *doctor) nodes(ctx context.Context) error {
	if len(d.options.servers) == 0 {
		return d.found("nodes", "", client.ErrNoServer)
	}
	nodes, err := d.askNodes(ctx)
	if err != nil {
		return d.found("nodes", "", err)
	}
	for _, n := range nodes {
		err := n.err
		if err == nil && n.Status != "ok" {
			err = fmt.Errorf("%s says of itself: %s", n.Endpoint, n.Status)
		}
		if failed := d.found("node", fmt.Sprintf("%s at %s: %s, index %d", n.Node, n.Endpoint, n.Status, n.Index), err); failed != nil {
			return failed
		}
	}
	return nil
}

func (d *doctor) account(ctx context.Context) error {
	if !d.exists() || errors.Is(d.worst, vault.ErrWrongKey) {
		return nil
	}
	c, err := d.open()
	if err != nil {
		return d.found("account", "", err)
	}
	return errors.Join(d.session(ctx, c), c.Close())
}

func (d *doctor) session(ctx context.Context, c *client.Client) error {
	who := c.Account()
	var err error
	switch {
	case !who.Registered:
		err = client.ErrNotRegistered
	case !who.LoggedIn:
		err = client.ErrNotLoggedIn
	default:
		_, err = c.Conn().Whoami(ctx)
	}
	if failed := d.found("session", who.Username+" is logged in", err); failed != nil || err != nil {
		return failed
	}
	keys, err := c.KeysStatus(ctx)
	if err == nil && keys.Remaining == 0 && !keys.HasLastResort {
		err = errors.New("the cluster has no key package of this device: nobody can begin a conversation with it. Run `qpq recv`")
	}
	if failed := d.found("keys", fmt.Sprintf("%d key packages wait at the cluster", keys.Remaining), err); failed != nil {
		return failed
	}
	s, err := c.Status(ctx)
	if err == nil && s.Reason != "" {
		err = fmt.Errorf("%d messages and %d changes wait: %s", s.Outbox, s.Intents, s.Reason)
	}
	if failed := d.found("outbox", fmt.Sprintf("%d messages and %d changes wait", s.Outbox, s.Intents), err); failed != nil {
		return failed
	}
	held, err := c.HeldEnvelopes()
	if err == nil && held.StrayFull() {
		err = fmt.Errorf("envelopes for conversations that are not here fill their room (%d bytes): somebody sends junk, and more is dropped; it goes by itself after %s", held.StrayBytes, client.HoldTime)
	}
	if n := c.Conn().Corrections(); n > 0 {
		if failed := d.found("index", "", fmt.Errorf("an answer reflected what the cluster says it never wrote, %d times: it was restored from a backup, or a node lies", n)); failed != nil {
			return failed
		}
	}
	return d.found("held", fmt.Sprintf("%d envelopes (%d bytes) wait for an earlier one, %d (%d bytes) belong to no conversation",
		held.Envelopes, held.Bytes, held.Stray, held.StrayBytes), err)
}
