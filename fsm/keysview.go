package fsm

// KeyPackages is how many key packages a device has.
type KeyPackages struct {
	Remaining     uint32
	HasLastResort bool
	// Low: the device should upload more (cluster setting key_packages_low).
	Low bool
}

// KeyPackages returns the numbers of a device; the zero device is the account
// itself.
func (v *View) KeyPackages(key AccountKey, id DeviceID) (KeyPackages, error) {
	v.err = nil
	p := pool(v, key, id)
	return KeyPackages{
		Remaining: p.count, HasLastResort: p.lastResort != nil && p.lastExpiry > v.now(),
		Low: uint64(p.count) < v.setting(keyPackagesLow),
	}, v.readError("key packages")
}

// HybridKey returns a device's hybrid public key and its signature, which may be
// nil; a nil key: there is none.
func (v *View) HybridKey(key AccountKey, id DeviceID) (public, signature []byte, err error) {
	v.err = nil
	var h hybridRow
	if row, ok := v.row(tableHybridKeys, rowKey(tableHybridKeys, key[:], id[:])); ok {
		v.fail(h.decode(row))
	}
	return h.key, h.signature, v.readError("hybrid key")
}

// incarnationKey is where a restore from a backup counts itself.
const incarnationKey = "\x00incarnation"

// Incarnation counts how often the cluster was restored from a backup. Keys that
// clients uploaded in another incarnation may have been handed out meanwhile.
func (v *View) Incarnation() (uint64, error) {
	v.err = nil
	return incarnation(v), v.readError("incarnation")
}
