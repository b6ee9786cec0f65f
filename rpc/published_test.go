package rpc

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"quicproquo/crypto/mls"
	"quicproquo/schemas"
	published "quicproquo/testcluster/vectors"
)

const vectorsPage = "../docs/vectors.json"

// The frames of docs/vectors.json: whole messages, as they go over a stream. Fields that
// are not named are the schema's defaults.
func TestVectorsPublishedFrames(t *testing.T) {
	type hex = published.Hex
	id, token := bytes.Repeat([]byte{0xab}, 16), bytes.Repeat([]byte{0xcd}, 32)
	key, channel := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	failure := answerOf(t, func(r schemas.Response) {
		f, err := r.NewError()
		must(t, err)
		f.SetCode(schemas.Code_rateLimited)
		f.SetRetryAfterMs(1500)
		must(t, f.SetMessage_("wait"))
	})
	sent := answerOf(t, func(r schemas.Response) {
		results, err := schemas.NewEnqueueResults(r.Segment())
		must(t, err)
		results.SetSeq(9)
		must(t, r.SetResults(results.ToPtr()))
	})
	published.Check(t, vectorsPage, "frames", map[string]any{
		"health":  map[string]any{"seen": 41, "request": hex(frameOf(t, healthMethod, func(r schemas.Request) { r.SetSeen(41) }))},
		"sent":    map[string]any{"index": 77, "seq": 9, "response": hex(sent)},
		"refusal": map[string]any{"index": 77, "code": 13, "retryAfterMs": 1500, "message": "wait", "response": hex(failure)},
		"loginStart": map[string]any{"username": "alice", "ke1": hex(bytes.Repeat([]byte{7}, 96)), "request": hex(frameWith(t, 10, nil, schemas.NewOpaqueLoginStartParams,
			func(p schemas.OpaqueLoginStartParams) error {
				return errors.Join(p.SetUsername("alice"), p.SetRequest(bytes.Repeat([]byte{7}, 96)))
			}))},
		"enqueue": map[string]any{
			"requestId": hex(id), "first": true, "recipientKey": hex(key), "channelId": hex(channel), "payload": hex("hello"), "ttlSecs": 3600,
			"accessToken": hex(token),
			"request": hex(frameMarked(t, true, 2, id, schemas.NewEnqueueParams, func(p schemas.EnqueueParams) error {
				auth, err := p.NewAuth()
				auth.SetVersion(1)
				p.SetVersion(1)
				p.SetTtlSecs(3600)
				return errors.Join(err, auth.SetAccessToken(token), p.SetRecipientKey(key), p.SetChannelId(channel), p.SetPayload([]byte("hello")))
			})),
		},
	})
}

func answerOf(tb testing.TB, fill func(schemas.Response)) []byte {
	tb.Helper()
	msg, seg := schemas.NewMessage()
	response, err := schemas.NewRootResponse(seg)
	must(tb, err)
	response.SetIndex(77)
	fill(response)
	frame, err := msg.Marshal()
	must(tb, err)
	return frame
}

// packageVector is a key package and what a node says of it.
type packageVector struct {
	Package    published.Hex `json:"package"`
	Signer     published.Hex `json:"signer"`
	LastResort bool          `json:"lastResort"`
	AtSecs     int64         `json:"atSecs"`
	Accepted   bool          `json:"accepted"`
}

// The key packages of docs/vectors.json: drawn once and kept, judged anew in each run.
func TestVectorsPublishedKeyPackages(t *testing.T) {
	var rows map[string]packageVector
	if !published.Read(t, vectorsPage, "keyPackages", &rows) {
		rows = drawPackages(t)
	}
	for name, row := range rows {
		_, err := checkKeyPackage(row.Package, row.Signer, row.LastResort, time.Unix(row.AtSecs, 0))
		row.Accepted = err == nil
		rows[name] = row
	}
	if len(rows) < 6 {
		t.Errorf("%d key packages, want at least 6", len(rows))
	}
	published.Check(t, vectorsPage, "keyPackages", rows)
}

func drawPackages(t *testing.T) map[string]packageVector {
	t.Helper()
	key := newKey(t)
	signer, other := published.Hex(key.Public().(ed25519.PublicKey)), published.Hex(newKey(t).Public().(ed25519.PublicKey))
	now := time.Now().Unix()
	good := packageOf(t, keySuite, key, mls.KeyPackageOptions{})
	last := packageOf(t, keySuite, key, mls.KeyPackageOptions{LastResort: true})
	damaged := bytes.Clone(good)
	damaged[len(damaged)-1] ^= 1
	return map[string]packageVector{
		"hybrid":                     {Package: good, Signer: signer, AtSecs: now},
		"suite 1":                    {Package: packageOf(t, 1, key, mls.KeyPackageOptions{}), Signer: signer, AtSecs: now},
		"last resort":                {Package: last, Signer: signer, LastResort: true, AtSecs: now},
		"last resort without a mark": {Package: good, Signer: signer, LastResort: true, AtSecs: now},
		"of another device":          {Package: good, Signer: other, AtSecs: now},
		"damaged signature":          {Package: damaged, Signer: signer, AtSecs: now},
		"after the end of its time":  {Package: good, Signer: signer, AtSecs: now + 400*24*3600},
		"before its time":            {Package: good, Signer: signer, AtSecs: now - 30*24*3600},
	}
}
