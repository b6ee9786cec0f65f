package liar

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"quicproquo/client"
	"quicproquo/crypto/identity"
	"quicproquo/schemas"
)

// verbs make a rule do what their name says. See rule.
//
//nolint:gochecknoglobals // a table
var verbs map[string]func(*Front, *rule, []string) error

func init() { //nolint:gochecknoinits // the verbs speak of the table that holds them
	verbs = map[string]func(*Front, *rule, []string) error{
		"of": of, "again": again, "refuse": refuse, "swallow": swallow, "drop": drop, "later": later, "twice": twice,
		"index": index, "epoch": epoch, "older": older, "with": with, "junk": junk, "empty": empty,
		"without": without, "invent": invent,
		"gap": gap, "lost": lost, "swap": swap, "before": beforeEnvelope, "at": at,
	}
}

// arguments says what a verb needs.
func arguments(args []string, least, most int, usage string) error {
	if len(args) < least || len(args) > most {
		return fmt.Errorf("the verb is written %s", usage)
	}
	return nil
}

// number reads N or +N, which is counted from base.
func number(text string, base uint64) (uint64, error) {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64)
	if strings.HasPrefix(text, "+") {
		n += base
	}
	return n, err
}

func of(f *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		m := methods[c.Request.Method()]
		if m.set == nil {
			return fmt.Errorf("a %s is about nothing that could be exchanged", m.name)
		}
		raw, err := f.book.raw(c.Request.Method(), args[0])
		if err != nil || !r.take() {
			return err
		}
		return m.set(c.params.Struct(), raw)
	}
	return arguments(args, 1, 1, "of NAME")
}

func again(f *Front, r *rule, args []string) error {
	r.before = func(c *Call) (err error) {
		frame, known := f.book.answered(c)
		if !known || !r.take() {
			return nil
		}
		c.done = true
		c.Response, err = readResponse(frame)
		return err
	}
	return arguments(args, 0, 0, "again")
}

func refuse(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 2, "refuse CODE [N|+N]"); err != nil {
		return err
	}
	var code schemas.Code
	for _, one := range schemas.Codes() {
		if one.Name == args[0] {
			code = one.Code
		}
	}
	if code == schemas.Code_ok {
		return fmt.Errorf("there is no error %s", args[0])
	}
	r.before = func(c *Call) error {
		value, base := uint64(0), uint64(0)
		if c.Method == "publishCommit" {
			base = schemas.PublishCommitParams(c.params.Struct()).Epoch()
		}
		if len(args) == 2 {
			var err error
			if value, err = number(args[1], base); err != nil {
				return err
			}
		}
		if !r.take() {
			return nil
		}
		return c.refuse(code, value)
	}
	return nil
}

// accept answers a write as if it was done for everybody.
func (c *Call) accept() error {
	switch c.Method {
	case "publishCommit":
		p := schemas.PublishCommitParams(c.params.Struct())
		n := 0
		list, err := p.Deliveries()
		for i := 0; err == nil && i < list.Len(); i++ {
			to, err := list.At(i).Recipients()
			if err != nil {
				return err
			}
			n += to.Len()
		}
		proof, _ := p.Proof()
		return c.give(0, func(seg *segment) error {
			results, err := schemas.NewPublishCommitResults(seg.Segment)
			if err != nil {
				return err
			}
			if results.SetEpoch(p.Epoch()); len(proof) > 0 {
				results.SetEpoch(p.Epoch() + 1)
			}
			_, err = results.NewOutcomes(int32(n)) // all of code ok
			return errors.Join(err, seg.results(results.ToPtr()))
		})
	case "batchEnqueue":
		to, err := schemas.BatchEnqueueParams(c.params.Struct()).Recipients()
		if err != nil {
			return err
		}
		return c.give(0, func(seg *segment) error {
			results, err := schemas.NewBatchEnqueueResults(seg.Segment)
			if err != nil {
				return err
			}
			_, err = results.NewOutcomes(int32(to.Len()))
			return errors.Join(err, seg.results(results.ToPtr()))
		})
	}
	return fmt.Errorf("a %s can't be answered without the node", c.Method)
}

func swallow(_ *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		if !r.take() {
			return nil
		}
		if err := c.accept(); err != nil {
			return err
		}
		c.patron.front.book.note(c)
		return nil
	}
	return arguments(args, 0, 0, "swallow")
}

// drop takes the recipients of an account out of a write, and the answer is as if they
// were in it.
func drop(f *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		key, known := f.book.Account(args[0])
		if !known {
			return fmt.Errorf("nobody is called %s here", args[0])
		}
		if !r.take() {
			return nil
		}
		if err := c.accept(); err != nil {
			return err
		}
		c.patron.front.book.note(c) // with all its recipients
		mine := c.Response
		rest, err := c.without(key)
		if err != nil {
			return err
		}
		if rest {
			if err := c.pass(); err != nil || !c.results() {
				return err
			}
			mine.SetIndex(c.Response.Index())
		}
		c.Response = mine
		return nil
	}
	return arguments(args, 1, 1, "drop NAME")
}

// without removes an account from the recipients, and tells whether there is something
// left to be done.
func (c *Call) without(key client.AccountKey) (rest bool, err error) {
	if c.Method == "batchEnqueue" {
		p := schemas.BatchEnqueueParams(c.params.Struct())
		list, err := p.Recipients()
		if err != nil {
			return false, err
		}
		n, err := keepOthers(list, p.NewRecipients, key)
		return n > 0, err
	}
	list, err := schemas.PublishCommitParams(c.params.Struct()).Deliveries()
	if err != nil {
		return false, err
	}
	for i := range list.Len() {
		d := list.At(i)
		to, err := d.Recipients()
		if err != nil {
			return false, err
		}
		n, err := keepOthers(to, d.NewRecipients, key)
		if err != nil {
			return false, err
		}
		if n == 0 { // a delivery has one recipient at least: the caller himself
			only, err := d.NewRecipients(1)
			c.patron.mu.Lock()
			own := c.patron.who
			c.patron.mu.Unlock()
			if err := errors.Join(err, only.At(0).SetKey(own[:]), d.SetPayload([]byte{0})); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func keepOthers(list schemas.Recipient_List, newList func(int32) (schemas.Recipient_List, error), key client.AccountKey) (n int, err error) {
	var others []schemas.Recipient
	for i := range list.Len() {
		have, err := list.At(i).Key()
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(have, key[:]) {
			others = append(others, list.At(i))
		}
	}
	next, err := newList(int32(len(others)))
	for i := 0; err == nil && i < len(others); i++ {
		err = next.Set(i, others[i])
	}
	return len(others), err
}

// later does a write after the next one: to the recipients they come in the other order.
func later(_ *Front, r *rule, args []string) error {
	var mu sync.Mutex
	var waiting *Call
	r.before = func(c *Call) error {
		mu.Lock()
		defer mu.Unlock()
		if waiting != nil {
			held := waiting
			waiting = nil
			c.after = append(c.after, func() { held.detached() })
			return nil
		}
		if !r.take() {
			return nil
		}
		waiting = c
		return c.accept()
	}
	return arguments(args, 0, 0, "later")
}

// detached sends a call on by a stream of its own, and drops the answer.
func (c *Call) detached() {
	s, err := c.patron.up.OpenStreamSync(c.patron.up.Context())
	if err != nil {
		return
	}
	again := *c
	again.up = s
	_ = again.forward() // the client has its answer
	s.CancelRead(0)
	s.CancelWrite(0)
}

func twice(_ *Front, r *rule, args []string) error {
	r.before = func(c *Call) error {
		if !r.take() {
			return nil
		}
		c.after = append(c.after, func() {
			id := make([]byte, schemas.RequestIDSize)
			_, _ = rand.Read(id)
			if c.Request.SetRequestId(id) == nil {
				c.detached()
			}
		})
		return nil
	}
	return arguments(args, 0, 0, "twice")
}

func index(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 1, "index N|+N"); err != nil {
		return err
	}
	if _, err := number(args[0], 0); err != nil {
		return err
	}
	r.response = func(c *Call) {
		if n, err := number(args[0], c.Response.Index()); err == nil && r.take() {
			c.Response.SetIndex(n)
		}
	}
	return nil
}

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
		default:
			err = fmt.Errorf("a %s brings nothing that could be left out", c.Method)
		}
		return err
	}
	return arguments(args, 0, 0, "empty")
}

// devices gives the list of an answer the devices that change makes of it.
func (c *Call) devices(r *rule, change func([]client.Device, [][]byte) ([]client.Device, [][]byte)) error {
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
	var devices []client.Device
	var signatures [][]byte
	for i := range list.Len() {
		id, _ := list.At(i).DeviceId()
		key, _ := list.At(i).DeviceKey()
		signature, _ := list.At(i).Signature()
		name, _ := list.At(i).DeviceName()
		d := client.Device{Name: name, Key: bytes.Clone(key)}
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
		return c.devices(r, func(d []client.Device, s [][]byte) ([]client.Device, [][]byte) {
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
		d := client.Device{Name: "tablet"}
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
		return c.devices(r, func(list []client.Device, s [][]byte) ([]client.Device, [][]byte) {
			return append(list, d), append(s, signature)
		})
	}
	return arguments(args, 0, 1, "invent [NAME]")
}
