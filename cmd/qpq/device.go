package main

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/spf13/cobra"

	"quicproquo/client"
	"quicproquo/client/conn"
	"quicproquo/cmd/qpq/internal/plain"
)

func (a *app) deviceCommand() *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the account's devices",
		Example: "  qpq device list",
		Args:    args(cobra.NoArgs),
		RunE: a.with(func(ctx context.Context, c *client.Client, _ []string) error {
			devices, err := a.devices(ctx, c)
			if err != nil {
				return err
			}
			rows := make([]*deviceRecord, 0, len(devices))
			for _, d := range devices {
				rows = append(rows, &deviceRecord{
					ID: hex.EncodeToString(d.ID[:]), Name: d.Name, RegisteredAt: stamp(d.Registered),
					Self: d.ID == c.Account().Device, at: d.Registered,
				})
			}
			return table(a, "DEVICE\tNAME\tREGISTERED\tTHIS ONE", rows)
		}),
	}
	revoke := &cobra.Command{
		Use:     "revoke DEVICE",
		Short:   "Remove a device of the account, such as a lost one",
		Long:    "Ends the device's sessions on every node and drops what the cluster keeps for it. Groups let it go with their next change.",
		Example: "  qpq device revoke 3f2a",
		Args:    args(cobra.ExactArgs(1)),
		RunE: a.with(func(ctx context.Context, c *client.Client, given []string) error {
			devices, err := a.devices(ctx, c)
			if err != nil {
				return err
			}
			id, err := deviceNamed(devices, given[0])
			if err != nil {
				return err
			}
			if err := c.RevokeDevice(ctx, id); err != nil {
				return err
			}
			return a.done("revoke", "device %s is revoked", hex.EncodeToString(id[:]))
		}),
	}
	return parent("device", "Devices of the account", list, revoke)
}

func (a *app) devices(ctx context.Context, c *client.Client) ([]conn.Device, error) {
	if c.Conn() == nil {
		return nil, client.ErrNoServer
	}
	return c.Conn().ListDevices(ctx, c.Account().Key)
}

// deviceNamed finds a device by its id or the beginning of it.
func deviceNamed(devices []conn.Device, prefix string) (found conn.DeviceID, err error) {
	n := 0
	for _, d := range devices {
		if len(prefix) >= 4 && len(prefix) <= 2*len(d.ID) && hex.EncodeToString(d.ID[:])[:len(prefix)] == prefix {
			found, n = d.ID, n+1
		}
	}
	if n != 1 {
		return found, usage("%q is the beginning of %d devices' ids: `qpq device list` shows them", prefix, n)
	}
	return found, nil
}

type deviceRecord struct {
	header
	ID           string `json:"device"`
	Name         string `json:"name"`
	RegisteredAt string `json:"registeredAt"`
	Self         bool   `json:"self"`
	at           time.Time
}

func (*deviceRecord) kind() string   { return "device" }
func (r *deviceRecord) line() string { return r.ID + " " + plain.Line(r.Name) }
func (r *deviceRecord) cells() []any { return []any{r.ID, r.Name, clock(r.at), yes(r.Self)} }
