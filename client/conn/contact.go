package conn

import (
	"context"

	"quicproquo/schemas"
)

// Standing is what an account is to the caller's, as the cluster knows it.
type Standing = schemas.SetContactsParams_Standing

// What an account is to another. A stranger has a small share of its queues and of its
// key packages, a contact a large one; what a blocked one sends is dropped.
const (
	Stranger = schemas.SetContactsParams_Standing_stranger
	Contacts = schemas.SetContactsParams_Standing_contact
	Blocked  = schemas.SetContactsParams_Standing_blocked
)

// SetContacts tells the cluster what the session's account wants of others, at most 256
// in one call. changed is how many of them were something else.
func (c *Conn) SetContacts(ctx context.Context, standing Standing, accounts ...AccountKey) (changed int, err error) {
	err = CallAs(ctx, c, Request{Method: methodSetContacts, Write: true}, schemas.NewSetContactsParams,
		func(p schemas.SetContactsParams) error {
			p.SetStanding(standing)
			list, err := p.NewAccounts(int32(len(accounts)))
			for i := range accounts {
				if err == nil {
					err = list.Set(i, accounts[i][:])
				}
			}
			return err
		},
		func(r schemas.SetContactsResults) error { changed = int(r.Changed()); return nil })
	return changed, err
}
