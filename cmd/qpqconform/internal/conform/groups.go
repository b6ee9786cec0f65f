package conform

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"quicproquo/cmd/qpqconform/internal/wire"
	"quicproquo/schemas"
)

const groupsSection, blobsSection, methodsSection, limitsSection = "Groups", "Blobs", "Methods", "Limits a client meets"

// commit is what publishCommit sends.
type commit struct {
	group    []byte
	epoch    uint64
	proof    []byte
	next     [32]byte // the verifier is its SHA-256
	info     []byte
	payload  []byte // empty: no delivery
	to       []recipient
	version  uint16
	verifier []byte // nil: made of next
}

func (c commit) spec() spec {
	return of("publishCommit", schemas.NewPublishCommitParams, func(p schemas.PublishCommitParams) error {
		p.SetVersion(c.version)
		p.SetEpoch(c.epoch)
		verifier := c.verifier
		if verifier == nil {
			sum := sha256.Sum256(c.next[:])
			verifier = sum[:]
		}
		err := errors.Join(p.SetGroupId(c.group), p.SetProof(c.proof), p.SetNextVerifier(verifier), p.SetGroupInfo(c.info))
		if len(c.to) == 0 {
			return err
		}
		list, listErr := p.NewDeliveries(1)
		if listErr != nil {
			return errors.Join(err, listErr)
		}
		return errors.Join(err, list.At(0).SetPayload(c.payload), fillRecipients(list.At(0).NewRecipients, c.to))
	})
}

func newCommit(group []byte, epoch uint64) commit {
	return commit{group: group, epoch: epoch, next: [32]byte(random(32)), version: 1}
}

// after is a commit of the epoch that c has begun.
func (c commit) after(epoch uint64) commit {
	n := newCommit(c.group, epoch)
	n.proof = c.next[:]
	return n
}

func fetchGroup(id []byte) spec {
	return of("fetchGroup", schemas.NewFetchGroupParams, func(p schemas.FetchGroupParams) error { return p.SetGroupId(id) })
}

func groups() []Check {
	return []Check{
		{
			What: "the first commit makes the record, one commit ends an epoch, and its deliveries are in the queues", Section: groupsSection,
			Methods: []string{"publishCommit", "fetchGroup", "peek"}, run: commits,
		},
		{
			What: "of commits for one epoch, at all nodes at once, one wins; the others are E063 with the group's epoch", Section: groupsSection,
			Methods: []string{"publishCommit"}, Codes: []schemas.Code{schemas.Code_epochConflict}, run: oneWinner,
		},
		{What: "a commit without the epoch's proof, or with another one, is E064; a group that there is not E065; and so on", Section: groupsSection, Codes: []schemas.Code{
			schemas.Code_groupProofInvalid, schemas.Code_groupNotFound, schemas.Code_groupIdLength, schemas.Code_wireVersionUnsupported, schemas.Code_keyLength,
			schemas.Code_listTooLong, schemas.Code_payloadTooLarge, schemas.Code_epochConflict,
		}, run: badCommits},
	}
}

func commits(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	last, err := w.clear(ctx, bob)
	if err != nil {
		return err
	}
	c := newCommit(random(32), 7)
	for i := range uint64(3) {
		c.payload, c.to, c.info = fmt.Appendf(nil, "commit %d", i), []recipient{{key: bob.public()}, {key: newPublic()}}, random(100)
		want := uint64(7)
		if i > 0 {
			want = c.epoch + 1
		}
		a, err := w.call(ctx, ann, c.spec(), schemas.Code_ok)
		if err != nil {
			return err
		}
		if err := first(func() error { return committed(a, want, last+1+i) }, func() error { return w.record(ctx, bob, &c, want) }); err != nil {
			return err
		}
		c = c.after(want)
	}
	got, err := w.waiting(ctx, bob, last)
	if err != nil {
		return err
	}
	return same("commits in bob's queue", got.Len(), 3)
}

// committed reads what publishCommit has answered.
func committed(a wire.Answer, epoch, seq uint64) error {
	r := results[schemas.PublishCommitResults](a)
	outcomes, err := r.Outcomes()
	if err != nil || outcomes.Len() != 2 {
		return errors.Join(err, differs("outcomes", outcomes.Len(), 2))
	}
	return errors.Join(same("the epoch", r.Epoch(), epoch), same("bob's number", outcomes.At(0).Seq(), seq),
		same("who does not exist", code(outcomes.At(1).Code()), code(schemas.Code_accountNotFound)))
}

func (w *World) record(ctx context.Context, p *person, c *commit, epoch uint64) error {
	a, err := w.call(ctx, p, fetchGroup(c.group), schemas.Code_ok)
	if err != nil {
		return err
	}
	r := results[schemas.FetchGroupResults](a)
	info, err := r.GroupInfo()
	if err == nil && (r.Epoch() != epoch || !bytes.Equal(info, c.info) || r.ChangedAtMs() == 0) {
		err = differs("fetchGroup", fmt.Sprintf("epoch %d, a group info of %d bytes", r.Epoch(), len(info)), fmt.Sprintf("epoch %d and what was published", epoch))
	}
	return err
}

func oneWinner(ctx context.Context, w *World) error {
	ann, bob, err := w.two(ctx)
	if err != nil {
		return err
	}
	base := newCommit(random(16), 1)
	if _, err := w.call(ctx, ann, base.spec(), schemas.Code_ok); err != nil {
		return err
	}
	racers := []*person{ann, bob}
	answers := make(chan wire.Answer, 2*max(2, len(w.nodes)))
	errs := make(chan error, cap(answers))
	for i := range cap(answers) {
		s := base.after(1).spec()
		s.id = random(16)
		frame, err := w.frame(&s)
		if err != nil {
			return err
		}
		l, err := racers[i%2].link(ctx, i%len(w.nodes))
		if err != nil {
			return err
		}
		go func() {
			a, err := l.Exchange(ctx, frame)
			answers <- a
			errs <- err
		}()
	}
	won := 0
	for range cap(answers) {
		a, err := <-answers, <-errs
		switch {
		case err != nil:
			return err
		case a.Code == schemas.Code_ok:
			won++
			w.note("publishCommit", a)
		case a.Code != schemas.Code_epochConflict || a.Value != 2:
			return differs("a commit that has lost", fmt.Sprintf("%s, value %d", said(a), a.Value), "E063 with value 2")
		}
	}
	return same("commits that have won the epoch", won, 1)
}

func badCommits(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	good := newCommit(random(16), 1)
	if _, err := w.call(ctx, ann, good.spec(), schemas.Code_ok); err != nil {
		return err
	}
	next := func(change func(c *commit)) spec {
		c := good.after(1)
		change(&c)
		return c.spec()
	}
	many := of("publishCommit", schemas.NewPublishCommitParams, func(p schemas.PublishCommitParams) error {
		p.SetVersion(1)
		p.SetEpoch(1)
		_, err := p.NewDeliveries(schemas.MaxDeliveries + 1)
		return errors.Join(err, p.SetGroupId(good.group), p.SetProof(good.next[:]), p.SetNextVerifier(random(32)))
	})
	return w.refusals(ctx, ann, []refusal{
		{"another proof", next(func(c *commit) { c.proof = random(32) }), schemas.Code_groupProofInvalid},
		{"a proof of 31 bytes", next(func(c *commit) { c.proof = c.proof[1:] }), schemas.Code_keyLength},
		{"an epoch that is over", next(func(c *commit) { c.epoch = 0 }), schemas.Code_epochConflict},
		{"no proof", good.spec(), schemas.Code_groupProofInvalid},
		{"a proof of a group that there is not", next(func(c *commit) { c.group = random(16) }), schemas.Code_groupNotFound},
		{"a group id of 15 bytes", next(func(c *commit) { c.group = random(15) }), schemas.Code_groupIdLength},
		{"a group id of 65 bytes", next(func(c *commit) { c.group = random(65) }), schemas.Code_groupIdLength},
		{"version 2", next(func(c *commit) { c.version = 2 }), schemas.Code_wireVersionUnsupported},
		{"a verifier of 31 bytes", next(func(c *commit) { c.verifier = random(31) }), schemas.Code_keyLength},
		{"a group info of 1 MiB and a byte", next(func(c *commit) { c.info = make([]byte, schemas.MaxGroupInfo+1) }), schemas.Code_payloadTooLarge},
		{"17 deliveries", many, schemas.Code_listTooLong},
		{"a group that nobody has published", fetchGroup(random(16)), schemas.Code_groupNotFound},
		{"a group id of 15 bytes in fetchGroup", fetchGroup(random(15)), schemas.Code_groupIdLength},
	})
}

func limits() []Check {
	return []Check{
		{What: "a body of 1 MiB is taken and comes back whole", Section: limitsSection, Methods: []string{"enqueue", "fetch"}, run: largestBody},
		{What: "64 streams of one connection are served at once", Section: limitsSection, Methods: []string{"health"}, run: manyStreams},
		{What: "an answer has at most 4 MiB of bodies, and one envelope at least", Section: limitsSection, Methods: []string{"fetch"}, run: largestAnswer},
	}
}

func largestBody(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, ann); err != nil {
		return err
	}
	body := random(schemas.MaxBody)
	if _, err := w.send(ctx, ann, enqueue(ann.public(), nil, body)); err != nil {
		return err
	}
	list, err := w.fetched(ctx, ann, fetch(ann.public(), nil, 0, false))
	if err != nil {
		return err
	}
	if err := same("envelopes", list.Len(), 1); err != nil {
		return err
	}
	data, err := list.At(0).Data()
	if err == nil && !bytes.Equal(data, body) {
		err = differs("the body", fmt.Sprint(len(data), " bytes, others"), "the same bytes")
	}
	return err
}

func largestAnswer(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, ann); err != nil {
		return err
	}
	for range 5 {
		if _, err := w.send(ctx, ann, enqueue(ann.public(), nil, make([]byte, schemas.MaxBody))); err != nil {
			return err
		}
	}
	list, err := w.fetched(ctx, ann, fetch(ann.public(), nil, 0, false))
	if err != nil {
		return err
	}
	if _, err := w.clear(ctx, ann); err != nil {
		return err
	}
	return same("envelopes of 1 MiB in one answer", list.Len(), 4)
}

func manyStreams(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	l, err := ann.link(ctx, 0)
	if err != nil {
		return err
	}
	s := health()
	frame, err := w.frame(&s)
	if err != nil {
		return err
	}
	errs := make(chan error, 64)
	for range cap(errs) {
		go func() {
			a, err := l.Exchange(ctx, frame)
			if err == nil && a.Code != schemas.Code_ok {
				err = differs("health", said(a), "success")
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	w.answered["health"] = err == nil
	return err
}

func versions() []Check {
	field := health()
	field.fill = setLonger
	return []Check{
		{What: "fields that a node does not know are ignored", Section: versionsSection, Methods: []string{"health"}, run: func(ctx context.Context, w *World) error {
			_, err := w.call(ctx, nil, field, schemas.Code_ok)
			return err
		}},
		{
			What: "auth.version and version other than 1 are E001 and E010", Section: versionsSection,
			Codes: []schemas.Code{schemas.Code_authVersionUnsupported, schemas.Code_wireVersionUnsupported}, run: otherVersions,
		},
		{What: "every method of the schema is known: E035 for none of them", Section: methodsSection, run: allKnown},
	}
}

func otherVersions(ctx context.Context, w *World) error {
	ann, err := w.someone(ctx, "ann")
	if err != nil {
		return err
	}
	if err := w.refusals(ctx, nil, []refusal{{"auth.version 0", bearer(0, ann.token, nil), schemas.Code_authVersionUnsupported}}); err != nil {
		return err
	}
	return w.refusals(ctx, ann, []refusal{{"version 3", enqueueWith(ann.public(), []byte("x"), func(p schemas.EnqueueParams) { p.SetVersion(3) }), schemas.Code_wireVersionUnsupported}})
}

func allKnown(ctx context.Context, w *World) error {
	for method := range ordinals() {
		s := spec{method: method}
		a, err := w.once(ctx, nil, &s)
		if err != nil {
			return err
		}
		if a.Code == schemas.Code_unknownMethod {
			return differs(method, said(a), "any other answer")
		}
	}
	return nil
}

func blobs() []Check {
	refused := func(method string, make func() spec) Check {
		return refuses(blobsSection, method+" is declared", schemas.Code_notServed, as("ann", func(*World, *person) spec { return make() }))
	}
	return []Check{
		refused("uploadBlob", func() spec { return of("uploadBlob", schemas.NewUploadBlobParams, nil) }),
		refused("downloadBlob", func() spec { return of("downloadBlob", schemas.NewDownloadBlobParams, nil) }),
	}
}
