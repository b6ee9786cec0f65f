package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"path/filepath"

	"quicproquo/client"
	"quicproquo/client/content"
	"quicproquo/client/vault"
	"quicproquo/cmd/internal/localcluster"
	"quicproquo/internal/await"
	"quicproquo/nodeaddr"
)

// person is somebody with a client, whose vault is on disk.
type person struct {
	*client.Client
	demo      *demo
	name      string
	secret    [32]byte // of the vault
	first     *localcluster.Process
	dm, group *client.Conversation
}

// newPerson registers somebody through one node; the client knows the others too.
func newPerson(ctx context.Context, d *demo, name string, first *localcluster.Process) (*person, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := &person{demo: d, name: name, first: first}
	_, _ = rand.Read(p.secret[:]) // never fails
	if err := p.open(client.Create); err != nil {
		return nil, err
	}
	password := make([]byte, 16)
	_, _ = rand.Read(password)
	if err := p.Register(ctx, name, password); err != nil {
		return nil, err
	}
	return p, p.Start()
}

func (p *person) dir() string { return filepath.Join(p.demo.Dir, "clients", p.name) }

// open opens the vault with one of client.Create and client.Open.
func (p *person) open(how func(client.Profile) (*client.Client, error)) error {
	// One node is all that it is given: it learns of the others, and outlives that one.
	pin := p.demo.nodes.Pin()
	trust, err := nodeaddr.Trust([]nodeaddr.Address{{Endpoint: p.first.Address, Pin: &pin}}, nil, nil)
	if err != nil {
		return err
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("open a UDP socket: %w", err)
	}
	options := client.Options{Endpoints: []string{p.first.Address}, TLS: trust, PacketConn: conn, InOrder: true}
	p.Client, err = how(client.Profile{
		Dir: p.dir(), Key: vault.Raw(bytes.Clone(p.secret[:])), Options: options,
		Settings: client.Settings{Invitations: client.FromEverybody}, // nobody is there to be asked
	})
	return err
}

func (p *person) close() error {
	if p.Client == nil {
		return nil
	}
	err := p.Close()
	p.Client = nil
	return err
}

// node is the id of the node that serves the client.
func (p *person) node() string {
	endpoint := p.Conn().Endpoint()
	for _, n := range p.demo.nodes.Nodes() {
		if n.Address == endpoint {
			return string(n.ID)
		}
	}
	return "no node"
}

// say says the next message of the demo, notes who should get it, and returns its id.
func (p *person) say(ctx context.Context, in *client.Conversation, to ...*person) (content.ID, error) {
	text := p.demo.log.next(p, in, to)
	id, err := in.Send(ctx, content.Text{Text: text})
	if err != nil {
		return id, fmt.Errorf("%s says %q: %w", p.name, text, err)
	}
	return id, nil
}

func (p *person) await(ctx context.Context, what string, ok func() error) error {
	return await.Until(ctx, what+" at "+p.name, ok)
}
