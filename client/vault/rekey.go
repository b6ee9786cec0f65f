package vault

import "fmt"

// Rekey makes another key the one that opens the vault. After a crash either the
// old or the new one does. The data key stays: whoever has an old vault.key and the
// key to it can still read the vault. A keyring's item is left in the keyring.
func (v *Vault) Rekey(key Key) error {
	defer key.forget()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	file, err := key.wrap(v.db.key)
	if err != nil {
		return fmt.Errorf("change key of vault: %w", err)
	}
	return replaceFile(v.dir, keyFileName, file.encode())
}

// Info is what can be known of a vault without its key.
type Info struct {
	Kind          string // what opens it: "passphrase", "keyring" or "raw"
	Service, User string // where its secret is in the keyring
}

// Inspect tells what opens the vault in a directory: ErrMissing if there is none.
func Inspect(dir string) (Info, error) {
	there, err := isVault(dir)
	if err != nil {
		return Info{}, err
	}
	if !there {
		return Info{}, missing(dir)
	}
	file, err := readKeyFile(dir)
	if err != nil {
		return Info{}, err
	}
	info := Info{Kind: file.Kind}
	if file.Keyring != nil {
		info.Service, info.User = file.Keyring.Service, file.Keyring.User
	}
	return info, nil
}
