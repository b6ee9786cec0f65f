package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// maxSealed bounds a sealed file, in bytes: a wal's list has some 200 bytes for
// each segment of 64 MiB.
const maxSealed = 1 << 20

// sealTail is what follows the content of a sealed file: a line end, the xxhash64
// of the content in 16 hexadecimal digits, a line end.
const sealTail = 1 + 16 + 1

// writeSealed replaces a small file in one step, with a checksum.
func writeSealed(file string, content []byte) error {
	sealed := fmt.Appendf(content[:len(content):len(content)], "\n%016x\n", xxhash.Sum64(content))
	return writeWhole(file, sealed)
}

// readSealed returns the content of a file that writeSealed wrote. Its error
// wraps fs.ErrNotExist or ErrDamaged.
func readSealed(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxSealed {
		return nil, fmt.Errorf("%w: %s has %d bytes, limit %d; %s", ErrDamaged, file, info.Size(), maxSealed, advice)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	content, ok := unseal(raw)
	if !ok {
		return nil, fmt.Errorf("%w: the checksum of %s differs; %s", ErrDamaged, file, advice)
	}
	return content, nil
}

func unseal(raw []byte) ([]byte, bool) {
	if len(raw) < sealTail || raw[len(raw)-1] != '\n' || raw[len(raw)-sealTail] != '\n' {
		return nil, false
	}
	content := raw[:len(raw)-sealTail]
	sum, err := strconv.ParseUint(string(raw[len(raw)-sealTail+1:len(raw)-1]), 16, 64)
	return content, err == nil && sum == xxhash.Sum64(content)
}

// writeWhole replaces a file: a crash leaves the old content or the new.
func writeWhole(file string, content []byte) error {
	temp := file + tempTail
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := os.Rename(temp, file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

// removeFile removes a file, durably; it may be gone already.
func removeFile(file string) error {
	if err := os.Remove(file); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(file))
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}
