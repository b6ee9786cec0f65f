package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"quicproquo/crypto/tlsid"
	"quicproquo/fsm"
	"quicproquo/schemas"
)

// SettingValue is a cluster setting as the replicated state has it.
type SettingValue struct {
	Name  string
	Value uint64
}

// ReadSettings asks a running cluster for its settings, from outside a node, with the
// certificate of one; what the answer holds was acknowledged before the question or after it.
// A cluster of newer nodes may have settings that this build does not know. conn is an unused
// packet connection; ReadSettings closes it. Error: ErrUnavailable.
func ReadSettings(ctx context.Context, conn net.PacketConn, identity *tlsid.Identity, peers []Peer, logger *slog.Logger) ([]SettingValue, error) {
	o, err := openOutside(conn, identity, peers, logger)
	if err != nil {
		return nil, err
	}
	defer o.close(context.WithoutCancel(ctx))
	for {
		values, err := o.settings(ctx)
		switch {
		case err == nil:
			return values, nil
		case errors.Is(err, errRefusedByAll):
			return nil, err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
}

// settings is one attempt: ask the leader, who is most likely to know that it is up to date.
func (o *outside) settings(ctx context.Context) ([]SettingValue, error) {
	leader, err := o.leader(ctx)
	if err != nil {
		return nil, err
	}
	frame, err := peerRequest(peerTimeout, func(r schemas.PeerRequest) error {
		r.SetSettings()
		return nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := o.streams.call(ctx, leader, frame)
	if err != nil {
		return nil, fmt.Errorf("ask leader %s: %w", leader, err)
	}
	if err := peerError(reply); err != nil {
		return nil, fmt.Errorf("ask leader %s: %w", leader, err)
	}
	list, err := reply.Settings()
	if err != nil {
		return nil, fmt.Errorf("read answer of leader %s: %w", leader, err)
	}
	return readSettings(list)
}

func readSettings(from schemas.SettingList) ([]SettingValue, error) {
	rows, err := from.Settings()
	if err != nil {
		return nil, err
	}
	if rows.Len() > maxSettings {
		return nil, fmt.Errorf("%d settings, at most %d are read", rows.Len(), maxSettings)
	}
	values := make([]SettingValue, 0, rows.Len())
	for i := range rows.Len() {
		name, err := rows.At(i).Name()
		if err != nil {
			return nil, err
		}
		values = append(values, SettingValue{name, rows.At(i).Value()})
	}
	return values, nil
}

// serveSettings answers with what this node's store has, once that has everything that was
// acknowledged before.
func (n *Node) serveSettings(ctx context.Context, resp schemas.PeerResponse) error {
	if err := n.Linearize(ctx); err != nil {
		return err
	}
	view, err := n.View()
	if err != nil {
		return err
	}
	return errors.Join(writeSettings(resp, view), view.Close())
}

func writeSettings(resp schemas.PeerResponse, view *fsm.View) error {
	to, err := resp.NewSettings()
	if err != nil {
		return err
	}
	known := fsm.Settings()
	rows, err := to.NewSettings(int32(len(known)))
	if err != nil {
		return err
	}
	for i, s := range known {
		value, _, err := view.Setting(s.Name)
		if err != nil {
			return err
		}
		rows.At(i).SetValue(value)
		if err := rows.At(i).SetName(s.Name); err != nil {
			return err
		}
	}
	return nil
}
