package liar

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"quicproquo/client/conn"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

func epoch(_ *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		results, err := groupResults(c)
		if err != nil {
			return err
		}
		n, err := number(args[0], results.Epoch())
		if err == nil && r.take() {
			results.SetEpoch(n)
		}
		return err
	}
	return arguments(args, 1, 1, "epoch N|+N")
}

func groupResults(c *Call) (schemas.FetchGroupResults, error) {
	if c.Method != "fetchGroup" {
		return schemas.FetchGroupResults{}, fmt.Errorf("a %s brings no group's record", c.Method)
	}
	ptr, err := c.Response.Results()
	return schemas.FetchGroupResults(ptr.Struct()), err
}

func older(f *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "older N"); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	r.results = func(c *Call) error {
		results, err := groupResults(c)
		if err != nil {
			return err
		}
		g, known := f.book.Group(c.subject())
		if !known || len(g.Records) <= n {
			return fmt.Errorf("the group's record has not been changed %d times", n)
		}
		if !r.take() {
			return nil
		}
		record := g.Records[len(g.Records)-1-n]
		results.SetEpoch(record.Epoch)
		return results.SetGroupInfo(record.GroupInfo)
	}
	return nil
}

func with(f *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		data, known := f.book.Kept(args[0])
		if !known {
			return fmt.Errorf("nothing is kept under %s", args[0])
		}
		return c.replace(r, func() []byte { return data })
	}
	return arguments(args, 1, 1, "with NAME")
}

func junk(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "junk N"); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	r.results = func(c *Call) error {
		return c.replace(r, func() []byte {
			data := make([]byte, n)
			_, _ = rand.Read(data)
			return data
		})
	}
	return err
}

// replace puts other bytes in the place of those that an answer brings.
func (c *Call) replace(r *rule, data func() []byte) error {
	ptr, err := c.Response.Results()
	if err != nil {
		return err
	}
	if c.Method == "subscribe" || c.Method == "peek" {
		return c.envelopes(func(_ int, e schemas.Envelope) error {
			if e.HasLoss() || !r.take() {
				return nil
			}
			return e.SetData(data())
		})
	}
	if !r.take() {
		return nil
	}
	switch c.Method {
	case "fetchGroup":
		return schemas.FetchGroupResults(ptr.Struct()).SetGroupInfo(data())
	case "resolveUser":
		return schemas.ResolveUserResults(ptr.Struct()).SetIdentityKey(data())
	case "resolveIdentity":
		return schemas.ResolveIdentityResults(ptr.Struct()).SetUsername(string(data()))
	case "fetchKeyPackages":
		list, err := schemas.FetchKeyPackagesResults(ptr.Struct()).Packages()
		for i := 0; err == nil && i < list.Len(); i++ {
			err = list.At(i).SetPackage(data())
		}
		return err
	}
	return fmt.Errorf("a %s brings nothing that could be replaced", c.Method)
}

func empty(_ *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		ptr, err := c.Response.Results()
		if err != nil || !r.take() {
			return err
		}
		switch c.Method {
		case "fetchGroup":
			return schemas.FetchGroupResults(ptr.Struct()).SetGroupInfo(nil)
		case "listDevices":
			_, err = schemas.ListDevicesResults(ptr.Struct()).NewDevices(0)
		case "fetchKeyPackages":
			_, err = schemas.FetchKeyPackagesResults(ptr.Struct()).NewPackages(0)
		case "subscribe":
			_, err = schemas.SubscribeResults(ptr.Struct()).NewPayloads(0)
		case "health":
			_, err = schemas.HealthResults(ptr.Struct()).NewMembers(0)
		default:
			err = fmt.Errorf("a %s brings nothing that could be left out", c.Method)
		}
		return err
	}
	return arguments(args, 0, 0, "empty")
}

// devices gives the list of an answer the devices that change makes of it.
func (c *Call) devices(r *rule, change func([]conn.Device, [][]byte) ([]conn.Device, [][]byte)) error {
	if c.Method != "listDevices" {
		return fmt.Errorf("a %s brings no devices", c.Method)
	}
	ptr, err := c.Response.Results()
	if err != nil || !r.take() {
		return err
	}
	results := schemas.ListDevicesResults(ptr.Struct())
	list, err := results.Devices()
	if err != nil {
		return err
	}
	var devices []conn.Device
	var signatures [][]byte
	for i := range list.Len() {
		id, _ := list.At(i).DeviceId()
		key, _ := list.At(i).DeviceKey()
		signature, _ := list.At(i).Signature()
		name, _ := list.At(i).DeviceName()
		d := conn.Device{Name: name, Key: bytes.Clone(key)}
		copy(d.ID[:], id)
		devices, signatures = append(devices, d), append(signatures, bytes.Clone(signature))
	}
	devices, signatures = change(devices, signatures)
	next, err := results.NewDevices(int32(len(devices)))
	for i := 0; err == nil && i < len(devices); i++ {
		to := next.At(i)
		err = errors.Join(to.SetDeviceId(devices[i].ID[:]), to.SetDeviceKey(devices[i].Key),
			to.SetSignature(signatures[i]), to.SetDeviceName(devices[i].Name))
	}
	return err
}

func without(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "without N"); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	r.results = func(c *Call) error {
		return c.devices(r, func(d []conn.Device, s [][]byte) ([]conn.Device, [][]byte) {
			if n < 1 || n > len(d) {
				return d, s
			}
			return append(d[:n-1], d[n:]...), append(s[:n-1], s[n:]...)
		})
	}
	return nil
}

// invent adds a device whose key the front has: one with a signature of zeros, or by
// the key that is kept under a name.
func invent(f *Front, r *rule, args []string) error {
	r.results = func(c *Call) error {
		d := conn.Device{Name: "tablet"}
		public, _, err := ed25519.GenerateKey(nil)
		if err != nil {
			return err
		}
		d.Key = public
		_, _ = rand.Read(d.ID[:])
		signature := make([]byte, identity.SignatureSize)
		if len(args) == 1 {
			seed, known := f.book.Kept(args[0])
			if !known || len(seed) != ed25519.SeedSize {
				return fmt.Errorf("no key is kept under %s", args[0])
			}
			key := ed25519.NewKeyFromSeed(seed)
			of, _ := methods[c.Request.Method()].subject(c.params.Struct())
			if signature, err = identity.Device([identity.KeySize]byte(of), d.ID, [identity.KeySize]byte(d.Key)).Sign(key); err != nil {
				return err
			}
		}
		return c.devices(r, func(list []conn.Device, s [][]byte) ([]conn.Device, [][]byte) {
			return append(list, d), append(s, signature)
		})
	}
	return arguments(args, 0, 1, "invent [NAME]")
}
