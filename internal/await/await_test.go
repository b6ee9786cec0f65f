package await

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errNotYet = errors.New("2 of 3 are here")

// A wait ends with the state, or with ctx, and then tells what is missing.
func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := Until(t.Context(), "three", func() error {
			if time.Since(began) < time.Minute {
				return errNotYet
			}
			return nil
		})
		if took := time.Since(began); err != nil || took < time.Minute || took > time.Minute+pollInterval {
			t.Errorf("a state that came after a minute was seen after %v, %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		err = Until(ctx, "three", func() error { return errNotYet })
		if took := time.Since(began); !errors.Is(err, errNotYet) || !strings.Contains(err.Error(), "three") || took > time.Second+pollInterval {
			t.Errorf("a wait of a second for what never comes ended after %v with %v", took, err)
		}
	})
}
