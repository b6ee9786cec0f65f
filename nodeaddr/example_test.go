package nodeaddr_test

import (
	"fmt"
	"strings"

	"quicproquo/nodeaddr"
)

// One line names a node and, by the fingerprint of its authority, the cluster that it must be of.
func ExampleParse() {
	a, err := nodeaddr.Parse("qpq://chat.example.com:4430?pin=sha256:" + strings.Repeat("5a", 32))
	fmt.Println(a.Endpoint, a.Pin != nil, err)
	// Output: chat.example.com:4430 true <nil>
}
