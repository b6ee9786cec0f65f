package client

import "quicproquo/client/conn"

// What of package conn every program names that keeps a profile: where the nodes are,
// who somebody is, and what a call can end with. conn.Is and conn.CodeOf tell errors apart.
type (
	// Options say where the nodes are and how to reach them.
	Options = conn.Options
	// AccountKey is an account's identity key, Ed25519.
	AccountKey = conn.AccountKey
	// DeviceID is the id of a device of an account.
	DeviceID = conn.DeviceID
	// Error is a call that did not give a result, with the cluster's code.
	Error = conn.Error
)
