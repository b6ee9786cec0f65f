package fsm

// Group is the record of an MLS group as readers see it.
type Group struct {
	Epoch     uint64
	ChangedMs uint64 // log time
	Info      []byte // opaque, nil for none; belongs to the caller
}

// Group returns a group's record; false: there is none.
func (v *View) Group(id []byte) (Group, bool, error) {
	v.err = nil
	g := group(v, id)
	if !g.exists() || v.err != nil {
		return Group{}, false, v.readError("group")
	}
	one := Group{Epoch: g.epoch, ChangedMs: g.changed}
	if info, ok := v.row(tableGroupInfos, rowKey(tableGroupInfos, id)); ok {
		one.Info = clone(info)
	}
	return one, true, v.readError("group")
}
