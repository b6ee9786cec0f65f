package testcluster

import (
	"fmt"
	"os/exec"
)

// CopyTree copies a folder as an operator does who keeps a node's directory: with modes
// and times. The target must not exist.
func CopyTree(from, to string) error {
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}
