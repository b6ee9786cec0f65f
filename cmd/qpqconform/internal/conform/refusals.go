package conform

import (
	"context"
	"fmt"

	"quicproquo/schemas"
)

// queueRefusals are the table of docs/protocol.md, "Queues".
func queueRefusals() []Check {
	all := func(what string, codes []schemas.Code, rows func(w *World, me, peer *person) []refusal) Check {
		return Check{What: what, Section: queuesSection, Codes: codes, run: func(ctx context.Context, w *World) error {
			ann, bob, err := w.two(ctx)
			if err != nil {
				return err
			}
			return w.refusals(ctx, ann, rows(w, ann, bob))
		}}
	}
	return []Check{
		all("enqueue refuses what the table says", []schemas.Code{
			schemas.Code_wireVersionUnsupported, schemas.Code_keyLength, schemas.Code_channelIdLength, schemas.Code_channelNotFound, schemas.Code_payloadEmpty,
			schemas.Code_payloadTooLarge, schemas.Code_ttlTooLarge, schemas.Code_accountNotFound,
		}, enqueueRefusals),
		all("batchEnqueue refuses what the table says", []schemas.Code{
			schemas.Code_recipientsEmpty, schemas.Code_tooManyRecipients, schemas.Code_duplicateRecipient, schemas.Code_payloadTooLarge, schemas.Code_payloadEmpty,
		}, batchRefusals),
		all("fetch, fetchWait, peek and ack refuse what the table says", []schemas.Code{
			schemas.Code_wireVersionUnsupported, schemas.Code_keyLength, schemas.Code_channelIdLength, schemas.Code_channelNotFound, schemas.Code_identityMismatch,
			schemas.Code_deviceNotFound,
		}, readRefusals),
	}
}

func enqueueRefusals(_ *World, _, peer *person) []refusal {
	to, some := peer.public(), []byte("x")
	with := func(change func(schemas.EnqueueParams)) spec { return enqueueWith(to, some, change) }
	return []refusal{
		{"version 2", with(func(p schemas.EnqueueParams) { p.SetVersion(2) }), schemas.Code_wireVersionUnsupported},
		{"a key of 31 bytes", enqueue(to[:31], nil, some), schemas.Code_keyLength},
		{"a channel id of 15 bytes", enqueue(to, random(15), some), schemas.Code_channelIdLength},
		{"a channel that there is not", enqueue(to, random(16), some), schemas.Code_channelNotFound},
		{"nothing", enqueue(to, nil, nil), schemas.Code_payloadEmpty},
		{"1 MiB and a byte", enqueue(to, nil, make([]byte, schemas.MaxBody+1)), schemas.Code_payloadTooLarge},
		{"an ephemeral one of 64 KiB and a byte", enqueueWith(to, make([]byte, schemas.MaxEphemeralBody+1), func(p schemas.EnqueueParams) { p.SetEphemeral(true) }), schemas.Code_payloadTooLarge},
		{"a time to live of 136 years", with(func(p schemas.EnqueueParams) { p.SetTtlSecs(1<<32 - 1) }), schemas.Code_ttlTooLarge},
		{"nobody's key", enqueue(newPublic(), nil, some), schemas.Code_accountNotFound},
	}
}

func batchRefusals(_ *World, me, peer *person) []refusal {
	to, some := recipient{key: peer.public()}, []byte("x")
	many := make([]recipient, schemas.MaxRecipients+1)
	for i := range many {
		many[i] = recipient{key: fmt.Appendf(nil, "%032d", i)}
	}
	return []refusal{
		{"nobody", batch(nil, some), schemas.Code_recipientsEmpty},
		{"4,097", batch(nil, some, many...), schemas.Code_tooManyRecipients},
		{"one twice", batch(nil, some, to, recipient{key: me.public()}, to), schemas.Code_duplicateRecipient},
		{"a header of 4 KiB and a byte", batch(nil, some, recipient{key: to.key, header: make([]byte, schemas.MaxHeader+1)}), schemas.Code_payloadTooLarge},
		{"nothing", batch(nil, nil, to), schemas.Code_payloadEmpty},
		{"a device id of 15 bytes", batch(nil, some, recipient{key: to.key, device: random(15)}), schemas.Code_keyLength},
	}
}

func readRefusals(_ *World, me, peer *person) (rows []refusal) {
	own := me.public()
	for name, read := range map[string]func(own, channel []byte) spec{
		"fetch":     func(own, channel []byte) spec { return fetch(own, channel, 0, false) },
		"drain":     func(own, channel []byte) spec { return fetch(own, channel, 0, true) },
		"fetchWait": func(own, channel []byte) spec { return fetchWait(own, channel, 0) },
		"peek":      func(own, channel []byte) spec { return peek(own, channel, 0) },
		"ack":       func(own, channel []byte) spec { return ack(own, channel, 0) },
	} {
		rows = append(rows,
			refusal{name + ", a key of 31 bytes", read(own[:31], nil), schemas.Code_keyLength},
			refusal{name + ", a channel id of 15 bytes", read(own, random(15)), schemas.Code_channelIdLength},
			refusal{name + ", a channel that there is not", read(own, random(16)), schemas.Code_channelNotFound},
			refusal{name + ", another's queue", read(peer.public(), nil), schemas.Code_identityMismatch},
		)
	}
	return append(rows,
		refusal{"peek with version 0", of("peek", schemas.NewPeekParams, func(p schemas.PeekParams) error { return p.SetRecipientKey(own) }), schemas.Code_wireVersionUnsupported},
		refusal{"peek of a device that there is not", of("peek", schemas.NewPeekParams, func(p schemas.PeekParams) error {
			p.SetVersion(1)
			return firstOf(p.SetRecipientKey(own), p.SetDeviceId(random(16)))
		}), schemas.Code_deviceNotFound})
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
