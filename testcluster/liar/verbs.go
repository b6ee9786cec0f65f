package liar

import (
	"fmt"
	"strconv"
	"strings"

	"quicproquo/schemas"
)

// verbs make a rule do what their name says. See rule.
//
//nolint:gochecknoglobals // a table
var verbs map[string]func(*Front, *rule, []string) error

func init() { //nolint:gochecknoinits // the verbs speak of the table that holds them
	verbs = map[string]func(*Front, *rule, []string) error{
		"of": of, "again": again, "refuse": refuse, "deny": deny, "swallow": swallow, "drop": drop, "later": later, "twice": twice,
		"index": index, "epoch": epoch, "older": older, "with": with, "junk": junk, "empty": empty,
		"without": without, "invent": invent,
		"gap": gap, "lost": lost, "swap": swap, "before": beforeEnvelope, "at": at, "seq": seq,
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
	refusal, err := refusalOf(args)
	r.before = func(c *Call) error {
		code, value, err := refusal(c)
		if err != nil || !r.take() {
			return err
		}
		return c.refuse(code, value)
	}
	return err
}

func deny(_ *Front, r *rule, args []string) error {
	if err := arguments(args, 1, 2, "deny CODE [N|+N]"); err != nil {
		return err
	}
	refusal, err := refusalOf(args)
	r.results = func(c *Call) error {
		code, value, err := refusal(c)
		if err != nil || !r.take() {
			return err
		}
		return c.refuse(code, value)
	}
	return err
}

// refusalOf reads CODE [N|+N].
func refusalOf(args []string) (func(*Call) (schemas.Code, uint64, error), error) {
	var code schemas.Code
	for _, one := range schemas.Codes() {
		if one.Name == args[0] {
			code = one.Code
		}
	}
	if code == schemas.Code_ok {
		return nil, fmt.Errorf("there is no error %s", args[0])
	}
	return func(c *Call) (_ schemas.Code, value uint64, err error) {
		base := uint64(0)
		if c.Method == "publishCommit" {
			base = schemas.PublishCommitParams(c.params.Struct()).Epoch()
		}
		if len(args) == 2 {
			value, err = number(args[1], base)
		}
		return code, value, err
	}, nil
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
