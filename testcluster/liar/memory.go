package liar

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"quicproquo/client/conn"
	"quicproquo/schemas"
)

// Book is what a front remembers: who has called, which groups there are, every
// record and every payload that passed, and answers to be given again. All methods
// are safe for concurrent use.
type Book struct {
	mu       sync.Mutex
	accounts map[conn.AccountKey]string
	groups   []*Group
	founded  map[string]int // groups that a username has founded
	answers  map[string][]byte
	kept     map[string][]byte // what a test has named
	packages map[string][]byte // the last answer of key packages, by account
	payloads []Passed
}

// Group is a group whose commits passed.
type Group struct {
	// Name is FOUNDER/N: the N-th group that FOUNDER gave the cluster through the front.
	Name    string
	ID      []byte
	Records []Record // as they were published, the founder's first
}

// Record is what the cluster keeps of a group's epoch.
type Record struct {
	Epoch     uint64
	GroupInfo []byte
}

// Passed is a payload that somebody sent through the front.
type Passed struct {
	From    string
	To      []conn.Recipient
	Channel conn.ChannelID
	Payload []byte
}

func newBook() *Book {
	return &Book{
		accounts: map[conn.AccountKey]string{}, founded: map[string]int{},
		answers: map[string][]byte{}, kept: map[string][]byte{}, packages: map[string][]byte{},
	}
}

func (b *Book) meet(key conn.AccountKey, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accounts[key] = name
}

// Account returns the key of somebody who has called.
func (b *Book) Account(name string) (key conn.AccountKey, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, have := range b.accounts {
		if have == name {
			return key, true
		}
	}
	return key, false
}

// Keep gives bytes a name, for lies that speak of them.
func (b *Book) Keep(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[name] = bytes.Clone(data)
}

// Kept returns what Keep was given.
func (b *Book) Kept(name string) (data []byte, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	data, known = b.kept[name]
	return data, known
}

// Group returns a group by its name.
func (b *Book) Group(name string) (g Group, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, have := range b.groups {
		if have.Name == name {
			g = *have
			g.Records = slices.Clone(g.Records)
			return g, true
		}
	}
	return g, false
}

// Call gives the group that somebody founded last another name.
func (b *Book) Call(founder, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := fmt.Sprintf("%s/%d", founder, b.founded[founder])
	for _, g := range b.groups {
		if g.Name == last {
			g.Name = name
		}
	}
}

// Payloads returns everything that was sent so far, in its order.
func (b *Book) Payloads() []Passed {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.payloads)
}

// subject is what people call the subject of a call: a username or a group's name.
func (b *Book) subject(raw []byte) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(raw) == schemas.AccountKeySize {
		if name, known := b.accounts[conn.AccountKey(raw)]; known {
			return name
		}
	}
	for _, g := range b.groups {
		if bytes.Equal(g.ID, raw) {
			return g.Name
		}
	}
	if len(raw) > 0 && !bytes.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r > '~' }) {
		return string(raw) // a username
	}
	return hex.EncodeToString(raw)
}

// raw is the reverse of subject, as a method takes it.
func (b *Book) raw(number uint16, name string) ([]byte, error) {
	if m := methods[number].name; m == "resolveUser" || m == "opaqueRegisterStart" {
		return []byte(name), nil
	}
	if g, known := b.Group(name); known {
		return g.ID, nil
	}
	if key, known := b.Account(name); known {
		return key[:], nil
	}
	return nil, fmt.Errorf("nobody and nothing is called %q here", name)
}

// answerKey says which answers stand for each other: the same question of anybody.
func answerKey(c *Call) string { return c.Method + " " + c.subject() }

// note remembers what a call tells, when the node has answered it.
func (b *Book) note(c *Call) {
	if !c.results() {
		return
	}
	switch c.Method {
	case "publishCommit":
		b.noteCommit(c.Who, schemas.PublishCommitParams(c.params.Struct()))
	case "batchEnqueue":
		p := schemas.BatchEnqueueParams(c.params.Struct())
		to, _ := p.Recipients()
		payload, _ := p.Payload()
		channel, _ := p.ChannelId()
		b.notePayload(c.Who, to, channel, payload)
	}
	if methods[c.Request.Method()].subject == nil {
		return
	}
	if frame, err := c.Response.Message().Marshal(); err == nil {
		key, subject := answerKey(c), c.subject()
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, known := b.answers[key]; !known {
			b.answers[key] = frame
		}
		if c.Method == "fetchKeyPackages" {
			b.packages[subject] = frame
		}
	}
}

func (b *Book) noteCommit(who string, p schemas.PublishCommitParams) {
	id, _ := p.GroupId()
	info, _ := p.GroupInfo()
	proof, _ := p.Proof()
	epoch := p.Epoch()
	if len(proof) > 0 {
		epoch++
	}
	b.mu.Lock()
	var g *Group
	for _, have := range b.groups {
		if bytes.Equal(have.ID, id) {
			g = have
		}
	}
	if g == nil {
		b.founded[who]++
		g = &Group{Name: fmt.Sprintf("%s/%d", who, b.founded[who]), ID: bytes.Clone(id)}
		b.groups = append(b.groups, g)
	}
	g.Records = append(g.Records, Record{epoch, bytes.Clone(info)})
	b.mu.Unlock()
	list, err := p.Deliveries()
	for i := 0; err == nil && i < list.Len(); i++ {
		to, _ := list.At(i).Recipients()
		payload, _ := list.At(i).Payload()
		channel, _ := list.At(i).ChannelId()
		b.notePayload(who, to, channel, payload)
	}
}

func (b *Book) notePayload(who string, to schemas.Recipient_List, channel, payload []byte) {
	passed := Passed{From: who, Payload: bytes.Clone(payload)}
	copy(passed.Channel[:], channel)
	for i := range to.Len() {
		var r conn.Recipient
		key, _ := to.At(i).Key()
		device, _ := to.At(i).Device()
		copy(r.Account[:], key)
		copy(r.Device[:], device)
		passed.To = append(passed.To, r)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.payloads = append(b.payloads, passed)
}

// answered returns the first answer that a question got.
func (b *Book) answered(c *Call) (frame []byte, known bool) {
	key := answerKey(c) // asks the book too
	b.mu.Lock()
	defer b.mu.Unlock()
	frame, known = b.answers[key]
	return frame, known
}

// subject is what the call is about, empty where it is about nothing.
func (c *Call) subject() string {
	m := methods[c.Request.Method()]
	if m.subject == nil {
		return ""
	}
	raw, err := m.subject(c.params.Struct())
	if err != nil {
		return ""
	}
	return strings.ToLower(c.patron.front.book.subject(raw))
}

// Package returns the key package that somebody was given last for an account, nil if
// none was.
func (b *Book) Package(of string) []byte {
	b.mu.Lock()
	frame := b.packages[of]
	b.mu.Unlock()
	if frame == nil {
		return nil
	}
	response, err := readResponse(frame)
	if err != nil {
		return nil
	}
	ptr, err := response.Results()
	if err != nil {
		return nil
	}
	list, err := schemas.FetchKeyPackagesResults(ptr.Struct()).Packages()
	if err != nil || list.Len() == 0 {
		return nil
	}
	data, _ := list.At(0).Package()
	return bytes.Clone(data)
}
