package fsm

import (
	"fmt"
	"testing"

	"quicproquo/schemas"
)

// An account that floods the store with group records keeps what its quota allows, in
// records and in bytes, and nobody else's groups are held up: the flood that was seen made
// 60 records of 1 MiB in half a minute.
func TestGroupFloodKeepsToItsQuota(t *testing.T) {
	s := openRegistration(t, " group_records_max=40 group_bytes_max=2097152 group_found_secs=0")
	defer closeTest(t, s.store)
	s.must("publishCommit as=+bob group=honest epoch=0 next=s info=i*1000")
	large, small, honest := 0, 0, 0
	for i := range 60 {
		large += s.through(1, fmt.Sprintf("publishCommit as=+mal group=large%d epoch=0 next=s info=i*1048576", i))
		small += s.through(1, fmt.Sprintf("publishCommit as=+mal group=small%d epoch=0 next=s", i))
		honest += s.through(1, fmt.Sprintf("publishCommit as=+bob group=honest epoch=%d proof=s next=s info=i*%d", i, 1000+i))
		honest += s.through(1, fmt.Sprintf("publishCommit as=+cat group=cats%d epoch=0 next=s info=i*100", i%30))
	}
	if large != 2 || small != 38 {
		t.Errorf("the flood has made %d large records and %d small ones, want 2 and 38", large, small)
	}
	if honest < 60+30 {
		t.Errorf("beside the flood %d of 90 honest commits go through", honest)
	}
	auditStore(t, s.store)
	// Its own commits that let go are taken, and make room; records end with time.
	s.must("publishCommit as=+mal group=large0 epoch=0 proof=s next=s info=i*10")
	s.now += 181 * day * 1000
	s.must("expire rows=1000", "publishCommit as=+mal group=new epoch=0 next=s info=i*1048576")
	auditStore(t, s.store)
}

// Bytes count for who has put them there: a member that puts a large info into a record of
// another's spends its own quota, and nobody can hand its records on.
func TestGroupsCountForWhoWroteThem(t *testing.T) {
	s := openRegistration(t, " group_records_max=2 group_bytes_max=1048576 group_found_secs=0")
	defer closeTest(t, s.store)
	s.must("publishCommit as=+ann group=g epoch=0 next=s info=i*500000",
		"publishCommit as=+mal group=g epoch=0 proof=s next=s info=i*1048576",
		"publishCommit as=+ann group=h epoch=0 next=s info=i*1048576")
	if r := s.do("publishCommit as=+ann group=k epoch=0 next=s"); r.Code != schemas.Code_groupQuota || r.Value != 2 {
		t.Errorf("ann's third record: %s %d, want E085 2: one of them was only committed to by another", r.Code.ID(), r.Value)
	}
	if r := s.do("publishCommit as=+mal group=h epoch=0 proof=s next=s info=i*2"); r.Code != schemas.Code_groupQuota || r.Value != 1<<20 {
		t.Errorf("mal's 1,048,578th byte: %s %d, want E085 1048576", r.Code.ID(), r.Value)
	}
	if r := s.do("publishCommit as=+ann group=g epoch=1 proof=s next=s info=i*1"); r.Code != schemas.Code_groupQuota {
		t.Errorf("ann's byte over her quota: %s", r.Code.ID())
	}
	s.must("publishCommit as=+mal group=h epoch=0 proof=s next=s", "publishCommit as=+ann group=g epoch=1 proof=s next=s info=i*1048576",
		"publishCommit as=+ann group=g epoch=2 proof=s next=s info=i*1048576")
	auditStore(t, s.store)
}

// Records of before the rules count from the next commit on, and end without harm.
func TestGroupsOfBeforeQuotas(t *testing.T) {
	s := openShared(t, "")
	defer closeTest(t, s.store)
	s.must("publishCommit as=+ann group=g epoch=0 next=s info=i*500", "publishCommit as=+ann group=h epoch=0 next=s info=i*500",
		"changeSettings feature_level=6", "publishCommit as=+bob group=g epoch=0 proof=s next=s info=i*300")
	a := auditStore(t, s.store)
	if len(a.usage) != 1 || a.usage[AccountKey(idBytes(t, "+bob", 32))] != (groupUsage{0, 300}) {
		t.Errorf("the accounts keep %v; want bob 300 bytes and no record", a.usage)
	}
	s.now += 181 * day * 1000
	s.must("expire rows=1000")
	if a := auditStore(t, s.store); len(a.usage) != 0 || s.rows(tableGroups) != 0 {
		t.Errorf("after the records' end the accounts keep %v in %d records", a.usage, s.rows(tableGroups))
	}
}
