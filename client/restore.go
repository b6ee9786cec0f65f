package client

import "errors"

// restored prepares a profile that was made from a backup. The original may have
// gone on, so nothing is encrypted with a group state of the backup, which would use
// its keys twice: every conversation comes back with a leaf of new keys, by an
// external commit. What was encrypted before the backup goes out as it is; repeated,
// it is the same message. The caller has opened the vault.
func (t *turn) restored() error {
	at, err := t.Restored()
	if err != nil || at.IsZero() {
		return err
	}
	// Whoever restores a backup wants to go on with it.
	if err := t.SetTakeOver(true); err != nil {
		return err
	}
	if err := t.renewAll("the profile was restored from a backup"); err != nil {
		return err
	}
	return t.ForgetRestored()
}

// renewAll has every conversation come back with new keys.
func (t *turn) renewAll(reason string) error {
	rows, err := t.Conversations()
	if err != nil {
		return err
	}
	for _, one := range rows {
		row, err := t.talk(one.ID)
		if err != nil {
			return err
		}
		if row.group == nil || row.State != stateActive && row.State != stateRecovering {
			continue
		}
		if err := t.comeBackAnew(row, reason); err != nil {
			return err
		}
	}
	return nil
}

// comeBackAnew has a conversation come back though it may not be behind.
func (t *turn) comeBackAnew(row *talk, reason string) error {
	row.State, row.Reason = stateRecovering, reason
	t.changed(row)
	intents, err := t.IntentsOf(row.ID)
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Kind == wishRejoin {
			if err := t.DeleteIntent(i.ID); err != nil {
				return err
			}
		}
	}
	_, err = t.intend(row, wish{Kind: wishRejoin, On: true})
	return err
}

var errNoRecord = errors.New("the cluster has forgotten the group, and the keys of a backup must not be used again")
