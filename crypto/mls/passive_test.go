package mls_test

import (
	"bytes"
	"testing"
	"time"

	"quicproquo/crypto/mls"
	"quicproquo/crypto/mls/message"
	"quicproquo/crypto/mls/schedule"
	"quicproquo/crypto/suite"
)

// testTime is when the tests happen.
var testTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

type passiveCase struct {
	withSuite
	ExternalPSKs []struct {
		ID  hexBytes `json:"psk_id"`
		PSK hexBytes `json:"psk"`
	} `json:"external_psks"`
	KeyPackage     hexBytes  `json:"key_package"`
	SignaturePriv  hexBytes  `json:"signature_priv"`
	EncryptionPriv hexBytes  `json:"encryption_priv"`
	InitPriv       hexBytes  `json:"init_priv"`
	Welcome        hexBytes  `json:"welcome"`
	RatchetTree    *hexBytes `json:"ratchet_tree"`
	Authenticator  hexBytes  `json:"initial_epoch_authenticator"`
	Epochs         []struct {
		Proposals     []hexBytes
		Commit        hexBytes
		Authenticator hexBytes `json:"epoch_authenticator"`
	}
}

func (c passiveCase) suite() uint16 { return c.CipherSuite }

// runPassive joins and follows a group, saving and loading the state at every step.
func runPassive(t *testing.T, c passiveCase) {
	t.Helper()
	psks := map[string]suite.Secret{}
	for _, p := range c.ExternalPSKs {
		psks[string(p.ID)] = suite.Secret(p.PSK)
	}
	cfg := &mls.Config{IgnoreLifetime: true, PSK: func(id schedule.PSKID) (suite.Secret, bool) {
		secret, ok := psks[string(id.ID)]
		return secret, ok && id.Type == schedule.PSKExternal
	}}
	kp, err := message.Parse(c.KeyPackage)
	noError(t, "parse key package", err)
	own, err := mls.LoadKeyPackage(kp.KeyPackage, suite.Secret(c.SignaturePriv), suite.Secret(c.InitPriv), suite.Secret(c.EncryptionPriv))
	noError(t, "load key package", err)
	var opt mls.JoinOptions
	if c.RatchetTree != nil {
		opt.RatchetTree = *c.RatchetTree
	}
	g, err := mls.Join(cfg, []*mls.KeyPackage{own}, c.Welcome, opt, testTime)
	noError(t, "join", err)
	equal(t, "initial epoch authenticator", g.EpochAuthenticator(), c.Authenticator)
	for i, e := range c.Epochs {
		g = reload(t, cfg, g)
		for _, p := range e.Proposals {
			g, _, err = g.Process(p, testTime)
			noError(t, "process proposal", err)
		}
		g, _, err = g.Process(e.Commit, testTime)
		noError(t, "process commit", err)
		if !bytes.Equal(g.EpochAuthenticator(), e.Authenticator) {
			t.Fatalf("epoch authenticator after commit %d: got %x, want %x", i, g.EpochAuthenticator(), e.Authenticator)
		}
	}
}

// reload saves and loads a group and checks that the encoding is canonical.
func reload(tb testing.TB, cfg *mls.Config, g *mls.Group) *mls.Group {
	tb.Helper()
	state := g.Marshal()
	loaded, err := mls.Unmarshal(cfg, state)
	noError(tb, "load state", err)
	if !bytes.Equal(loaded.Marshal(), state) {
		tb.Fatal("the loaded group saves to other bytes")
	}
	return loaded
}
