package fsm

import (
	"fmt"
	"strings"
	"testing"

	"quicproquo/schemas"
)

// uploads gives ann a pool of packages for her account, and a last-resort one.
func (s *shared) uploads(n int) {
	s.t.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("p%d", i))
	}
	s.must("uploadKeyPackages as=+ann packages=" + strings.Join(names, ",") + " last=l1")
}

// claims lets an account claim of ann's and reports what it got: an own package, the
// last-resort one, or nothing.
func (s *shared) claims(by string) (own, last bool) {
	s.t.Helper()
	r := s.do("claimKeyPackages as=+" + by + " of=+ann oldest=1")
	if r.Code != schemas.Code_ok {
		return false, false
	}
	msg, err := schemas.Unmarshal(r.Data)
	must(s.t, err)
	results, err := schemas.ReadRootFetchKeyPackagesResults(msg)
	must(s.t, err)
	list, err := results.Packages()
	must(s.t, err)
	return !list.At(0).LastResort(), list.At(0).LastResort()
}

// However many accounts claim an account's key packages, its pool is not emptied: beside
// them contacts, and who was answered on a channel, get packages of their own, and other
// strangers the last-resort one. The flood that was seen had 18 accounts.
func TestNobodyEmptiesAPool(t *testing.T) {
	s := openShared(t, " key_packages_max=100")
	defer closeTest(t, s.store)
	s.uploads(100)
	taken := 0
	for i := range 40 {
		name := fmt.Sprintf("sybil%d", i)
		s.must(fmt.Sprintf("createAccount name=%s key=+%s by=%s", name, name, name))
		for range 6 {
			own, last := s.claims(name)
			if !own && !last {
				t.Fatal("a claim within the pair's rate gets nothing")
			}
			if own {
				taken++
			}
		}
	}
	if taken != 20 {
		t.Errorf("strangers have taken %d packages, want the 20 of their rate", taken)
	}
	for _, honest := range []string{"bob", "cat"} {
		for range 6 {
			if own, _ := s.claims(honest); !own {
				t.Errorf("beside the flood %s gets no package of the pool", honest)
			}
		}
	}
	if own, last := s.claims("dan"); own || !last {
		t.Error("beside the flood a stranger must get the last-resort package")
	}
	s.now += 61_000 // one more is free
	if own, _ := s.claims("dan"); !own {
		t.Error("after a minute a stranger gets no package of the pool")
	}
	if own, _ := s.claims("mal"); own {
		t.Error("after a minute two are free; want one")
	}
}

// Contacts together have a rate too, and who is blocked gets the last-resort package.
func TestContactsAndBlockedClaim(t *testing.T) {
	s := openShared(t, "")
	defer closeTest(t, s.store)
	s.must("changeSettings key_contacts_burst=3")
	s.uploads(20)
	for i, by := range []string{"bob", "bob", "cat", "cat"} {
		if own, last := s.claims(by); own != (i < 3) || last != (i == 3) {
			t.Errorf("claim %d, of %s: a package of the pool %v, the last-resort one %v", i, by, own, last)
		}
	}
	s.must("setContacts as=+ann accounts=+mal standing=blocked")
	if own, last := s.claims("mal"); own || !last {
		t.Error("who is blocked must get the last-resort package")
	}
	if own, _ := s.claims("dan"); !own {
		t.Error("a stranger gets no package though strangers have taken none")
	}
}
