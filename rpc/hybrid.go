package rpc

import (
	"errors"

	"quicproquo/fsm"
	"quicproquo/schemas"
)

// Reading hybrid keys: what messages to a device are sealed to. They come with the
// signatures by which a reader can check them without trusting this server.

func fetchHybridKey(c *call, p schemas.FetchHybridKeyParams, results schemas.FetchHybridKeyResults) error {
	key, err := accountKey(p.IdentityKey())
	if err != nil {
		return err
	}
	a, err := c.account(key)
	if err != nil {
		return err
	}
	device, err := p.DeviceId()
	if err != nil {
		return malformed(err)
	}
	candidates, err := hybridCandidates(&a, device)
	if err != nil {
		return err
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	for _, id := range candidates {
		public, signature, err := view.HybridKey(key, id)
		if err != nil {
			return storageFault(err)
		}
		if public == nil {
			continue
		}
		return errors.Join(results.SetHybridPublicKey(public), results.SetSignature(signature), results.SetDeviceId(deviceField(id)))
	}
	return refuse(schemas.Code_hybridKeyNone)
}

// hybridCandidates are the devices whose key may be the answer, the best first.
func hybridCandidates(a *fsm.Account, named []byte) ([]fsm.DeviceID, error) {
	if len(named) != 0 {
		if len(named) != schemas.DeviceIDSize {
			return nil, &refusal{code: schemas.Code_keyLength, value: uint64(len(named)), detail: "deviceId."}
		}
		id := fsm.DeviceID(named)
		if id != (fsm.DeviceID{}) && a.Device(id) == nil {
			return nil, refuse(schemas.Code_deviceNotFound)
		}
		return []fsm.DeviceID{id}, nil
	}
	candidates := []fsm.DeviceID{{}}
	for i := range a.Devices {
		candidates = append(candidates, a.Devices[i].ID)
	}
	return candidates, nil
}

// fetchHybridKeys answers for every device of every account that exists: who sends
// to many needs one call.
func fetchHybridKeys(c *call, p schemas.FetchHybridKeysParams, results schemas.FetchHybridKeysResults) error {
	list, err := p.IdentityKeys()
	if err != nil {
		return malformed(err)
	}
	if list.Len() > schemas.MaxIdentities {
		return &refusal{code: schemas.Code_listTooLong, value: schemas.MaxIdentities}
	}
	view, err := c.state()
	if err != nil {
		return err
	}
	var found []hybridOf
	for i := range list.Len() {
		key, err := accountKey(list.At(i))
		if err != nil {
			return err
		}
		if found, err = appendHybrids(view, found, key); err != nil {
			return err
		}
	}
	to, err := results.NewKeys(int32(len(found)))
	if err != nil {
		return err
	}
	for i := range found {
		if err := found[i].write(to.At(i)); err != nil {
			return err
		}
	}
	return nil
}

// hybridOf is a device with its hybrid key, if it has one.
type hybridOf struct {
	account           fsm.AccountKey
	device            fsm.Device // zero: the account itself
	public, signature []byte
}

// appendHybrids appends an account's devices, and the account itself if it has a
// key of its own or no device.
func appendHybrids(view *fsm.View, found []hybridOf, key fsm.AccountKey) ([]hybridOf, error) {
	a, ok, err := view.Account(key)
	if err != nil {
		return nil, storageFault(err)
	}
	if !ok {
		return found, nil
	}
	for _, device := range append([]fsm.Device{{}}, a.Devices...) {
		public, signature, err := view.HybridKey(key, device.ID)
		if err != nil {
			return nil, storageFault(err)
		}
		if public == nil && device.ID == (fsm.DeviceID{}) && len(a.Devices) > 0 {
			continue
		}
		found = append(found, hybridOf{account: key, device: device, public: public, signature: signature})
	}
	return found, nil
}

func (h *hybridOf) write(to schemas.HybridKey) error {
	return errors.Join(
		to.SetIdentityKey(h.account[:]), to.SetDeviceId(deviceField(h.device.ID)),
		to.SetHybridPublicKey(h.public), to.SetSignature(h.signature),
		to.SetDeviceKey(h.device.Key), to.SetDeviceSignature(h.device.Signature))
}
