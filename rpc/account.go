package rpc

import (
	"quicproquo/schemas"
)

// whoami tells a caller who it is to this cluster.
func whoami(c *call, _ schemas.WhoamiParams, results schemas.WhoamiResults) error {
	a, err := c.account(c.caller.account)
	if err != nil {
		return err
	}
	results.SetExpiresAtMs(c.caller.session.ExpiresMs)
	results.SetCreatedAtMs(a.CreatedMs)
	if err := results.SetUsername(a.Username); err != nil {
		return err
	}
	if err := results.SetDeviceId(c.caller.actorDevice()); err != nil {
		return err
	}
	return results.SetIdentityKey(a.Key[:])
}
