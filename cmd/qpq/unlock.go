package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"quicproquo/client/vault"
	"quicproquo/nodeaddr"
)

// keyringService is the name under which the operating system's keyring keeps the
// vaults' secrets; the user is the profile's directory.
const keyringService = "quicproquo"

// maxSecret bounds what is read as a passphrase or a password, in bytes.
const maxSecret = 4096

// errNoTerminal says how a secret is given where nobody can be asked.
type errNoTerminal struct{ what, flag, env string }

func (e errNoTerminal) Error() string {
	return fmt.Sprintf("no %s: there is no terminal to ask for it", e.what)
}

func (e errNoTerminal) next() string {
	return fmt.Sprintf("Give a file with it: --%s FILE, or %s=FILE in the environment (- reads standard input).", e.flag, e.env)
}

// key unlocks the profile's vault.
func (a *app) key() (vault.Key, error) {
	if a.options.keyring {
		return vault.Keyring(keyringService, a.dir()), nil
	}
	if a.again != nil {
		return vault.Passphrase(bytes.Clone(a.again)), nil
	}
	secret, err := a.secret("passphrase of the profile", "passphrase-file", a.options.passphraseFile, false)
	if err != nil {
		return nil, err
	}
	if a.keep {
		a.again = bytes.Clone(secret)
	}
	return vault.Passphrase(secret), nil
}

// newKey is key for a vault that is to be made: a passphrase is asked for twice.
func (a *app) newKey() (vault.Key, error) {
	if a.options.keyring {
		return vault.Keyring(keyringService, a.dir()), nil
	}
	secret, err := a.secret("new passphrase for the profile on this machine", "passphrase-file", a.options.passphraseFile, true)
	if err != nil {
		return nil, err
	}
	return vault.Passphrase(secret), nil
}

// secret reads a secret from a file, or asks for it; twice asks again to be sure.
func (a *app) secret(what, flag, file string, twice bool) ([]byte, error) {
	if file != "" {
		return a.secretFile(what, file)
	}
	if !a.terminal {
		return nil, errNoTerminal{what, flag, environment().EnvName(flag)}
	}
	first, err := a.ask(what)
	if err != nil || !twice {
		return first, err
	}
	second, err := a.ask("the same again")
	defer clear(second)
	if err == nil && !bytes.Equal(first, second) {
		err = usage("the two are not the same: try again")
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// ask prompts without echo.
func (a *app) ask(what string) ([]byte, error) {
	fmt.Fprintf(a.notes, "%s%s: ", strings.ToUpper(what[:1]), what[1:])
	secret, err := term.ReadPassword(int(a.in.Fd()))
	fmt.Fprintln(a.notes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	if len(secret) == 0 {
		return nil, usage("%s: nothing was typed", what)
	}
	return secret, nil
}

// secretFile reads the first line of a file; - is standard input.
func (a *app) secretFile(what, file string) ([]byte, error) {
	f := a.in
	if file != "-" {
		var err error
		if f, err = os.Open(file); err != nil {
			return nil, fmt.Errorf("read %s: %w", what, err)
		}
		defer f.Close()
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			a.note("note: other users can read %s: chmod 600 %s", file, file)
		}
	}
	secret, err := firstLine(f)
	if err != nil {
		return nil, fmt.Errorf("read %s from %s: %w", what, file, err)
	}
	return secret, nil
}

// firstLine reads byte by byte: what follows in standard input is somebody else's.
func firstLine(r io.Reader) ([]byte, error) {
	line := make([]byte, 0, maxSecret)
	one := make([]byte, 1)
	for len(line) < maxSecret {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			clear(line)
			return nil, err
		}
		line = append(line, one[:n]...)
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) == 0 || len(line) == maxSecret {
		clear(line)
		return nil, fmt.Errorf("its first line has %d bytes, expected 1 to %d", len(line), maxSecret-1)
	}
	return line, nil
}

// trust says how nodes prove themselves.
func (a *app) trust(addresses []nodeaddr.Address) (*tls.Config, error) {
	var authorities []byte
	if a.options.ca != "" {
		var err error
		if authorities, err = os.ReadFile(a.options.ca); err != nil {
			return nil, fmt.Errorf("read the CA file: %w", err)
		}
	}
	config, err := nodeaddr.Trust(addresses, authorities, nil)
	if err != nil {
		return nil, usage("%w", err)
	}
	return config, nil
}
