package cluster

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"quicproquo/crypto/tlsid"
	"quicproquo/schemas"
)

// renewCertificate replaces the node's certificate before it runs out: by this
// node's own authority, else by the first member that holds the CA's key.
func (n *Node) renewCertificate() {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	for {
		if n.cfg.Identity.NeedsRenewal(n.Now()) {
			if err := n.renewOnce(n.ctx); err != nil {
				n.log.Error("certificate not renewed; will try again", "error", err,
					"expires", n.cfg.Identity.Leaf().NotAfter)
			} else {
				n.log.Info("certificate renewed", "expires", n.cfg.Identity.Leaf().NotAfter)
			}
		}
		select {
		case <-n.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// RenewCertificate replaces the node's certificate now, whatever its age.
func (n *Node) RenewCertificate(ctx context.Context) error { return n.renewOnce(ctx) }

func (n *Node) tlsDir() string { return filepath.Join(n.cfg.Dir, tlsDir) }

func (n *Node) renewOnce(ctx context.Context) error {
	dir := n.tlsDir()
	if n.cfg.Authority != nil {
		if err := n.cfg.Identity.Renew(n.cfg.Authority, n.Now()); err != nil {
			return err
		}
		return n.cfg.Identity.Save(dir)
	}
	request, err := n.cfg.Identity.Request()
	if err != nil {
		return err
	}
	leaf, err := n.askAnyCertificate(ctx, request.CSR())
	if err != nil {
		return err
	}
	if err := n.cfg.Identity.Install(request, leaf, n.Now()); err != nil {
		return err
	}
	return n.cfg.Identity.Save(dir)
}

// askAnyCertificate asks the members in turn until one signs the request (DER).
func (n *Node) askAnyCertificate(ctx context.Context, request []byte) ([]byte, error) {
	frame, err := peerRequest(peerTimeout, func(r schemas.PeerRequest) error {
		renew, err := r.NewRenew()
		if err != nil {
			return err
		}
		return renew.SetCertificateRequest(request)
	})
	if err != nil {
		return nil, err
	}
	var last error
	for _, m := range n.Members() {
		if m.ID == n.cfg.ID {
			continue
		}
		leaf, err := n.askCertificate(ctx, m.ID, frame)
		if err == nil {
			return leaf, nil
		}
		last = err
	}
	return nil, fmt.Errorf("no member could renew: %w", last)
}

func (n *Node) askCertificate(ctx context.Context, id tlsid.NodeID, frame []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	reply, err := n.peers.call(ctx, id, frame)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", id, err)
	}
	if err := peerError(reply); err != nil {
		return nil, fmt.Errorf("ask %s: %w", id, err)
	}
	renewed, err := reply.Renewed()
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", id, err)
	}
	return renewed.Certificate()
}

// serveRenew signs a member's request. The peer's own certificate says who asks:
// it gets a new one for that id and no other.
func (n *Node) serveRenew(from tlsid.NodeID, renew schemas.Renew, resp schemas.PeerResponse) error {
	if n.cfg.Authority == nil {
		return fmt.Errorf("%w: this node does not hold the CA's key", ErrUnavailable)
	}
	if _, ok := n.member(from); !ok {
		return fmt.Errorf("%w: %s", ErrMemberUnknown, from)
	}
	request, err := renew.CertificateRequest()
	if err != nil {
		return err
	}
	if err := n.mayRenew(from, request); err != nil {
		return err
	}
	leaf, err := n.cfg.Authority.IssueRequest(request, from, n.Now())
	if err != nil {
		return err
	}
	renewed, err := resp.NewRenewed()
	if err != nil {
		return err
	}
	n.log.Info("certificate issued", "to", from)
	return renewed.SetCertificate(leaf.Raw)
}
