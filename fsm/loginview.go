package fsm

// Record returns the OPAQUE record of a canonical username, nil if nobody has the
// name. It reads no more of the account than that: what a login costs must not
// depend on how many devices there are.
func (v *View) Record(name string) ([]byte, error) {
	v.err = nil
	owner := username(v, name).owner
	value, ok := v.row(tableAccounts, rowKey(tableAccounts, owner[:]))
	if !ok || v.err != nil {
		return nil, v.readError("record")
	}
	f := fields{rest: value}
	state := accountState(f.u8())
	f.u64()              // created
	f.take(int(f.u16())) // name
	record := f.bytes()
	if f.bad {
		v.fail(brokenf("an account has a row of %d bytes", len(value)))
	}
	if state != accountLive || v.err != nil {
		return nil, v.readError("record")
	}
	return record, nil
}
