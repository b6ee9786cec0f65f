package rpc

import (
	"testing"

	"quicproquo/client"
	"quicproquo/schemas"
)

// The client library asks a node how it is, and learns the node's index.
func TestHealth(t *testing.T) {
	d := openDoor(t, NewServer(newFakeNode(41), Options{Logger: quiet()}))
	c := d.client(t)
	for range 3 {
		got, err := c.Health(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := client.Health{Status: "ok", NodeID: "n1", Leader: true, FeatureLevel: schemas.FeatureLevel}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if c.Seen() != 41 {
		t.Errorf("the client has seen index %d, want the response's 41", c.Seen())
	}
}
