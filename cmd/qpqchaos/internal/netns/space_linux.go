package netns

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// space is a network namespace.
type space struct{ file *os.File }

// newSpace makes one, without any link that is up.
func newSpace() (s space, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var failure error
		s.file, failure = os.Open("/proc/thread-self/ns/net")
		return failure
	})
	return s, err
}

// within runs do where sockets are opened, and processes started, in the namespace.
func (s space) within(do func() error) error {
	return onThread(func() error {
		if err := unix.Setns(s.fd(), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return do()
	})
}

func (s space) fd() int { return int(s.file.Fd()) }

// onThread runs do on a thread that ends with it, and its namespaces too.
func onThread(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // forever: the thread must not be used again
		done <- do()
	}()
	return <-done
}
