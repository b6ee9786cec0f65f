// Package npm gives tests the JavaScript programs that lie beside them, with the packages
// that their lock files name.
package npm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Folder returns a folder that holds the files of source and, as node_modules, its locked
// packages: source itself if it has them, else a copy beside the user's cache, which `npm
// ci` fills once for each state of the lock file. It skips the test without Node.js or npm,
// and fails it where CI is set: there it must run.
func Folder(tb testing.TB, source string) string {
	tb.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				tb.Fatalf("CI must have %s: %v", tool, err)
			}
			tb.Skipf("install Node.js 20.6 or later with npm to run this: %v", err)
		}
	}
	source, err := filepath.Abs(source)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "node_modules")); err == nil {
		return source
	}
	modules, err := installed(source)
	if err != nil {
		tb.Fatalf("the locked packages of %s: %v", source, err)
	}
	work := tb.TempDir()
	if err := os.CopyFS(work, os.DirFS(source)); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(work, "node_modules")); err != nil {
		tb.Fatal(err)
	}
	return work
}

// installed returns the cached node_modules for a lock file's content.
func installed(source string) (string, error) {
	lock, err := os.ReadFile(filepath.Join(source, "package-lock.json"))
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	target := filepath.Join(cache, "quicproquo-npm", hex.EncodeToString(sum[:8]))
	modules := filepath.Join(target, "node_modules")
	if _, err := os.Stat(target); err == nil {
		return modules, nil
	}
	// Fill a folder of our own and move it, so that a broken or parallel run never leaves
	// half an installation.
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(target), "installing-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh) // only there still if the move failed
	if err := fill(fresh, source); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, target); err != nil {
		if _, missing := os.Stat(target); missing != nil {
			return "", fmt.Errorf("keep installed packages: %w", err)
		}
	}
	return modules, nil
}

func fill(fresh, source string) error {
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if errors.Is(err, os.ErrNotExist) && name == ".npmrc" {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(fresh, name), data, 0o644); err != nil {
			return err
		}
	}
	ci := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	ci.Dir = fresh
	if out, err := ci.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", ci, err, out)
	}
	return nil
}
