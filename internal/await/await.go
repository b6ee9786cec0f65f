// Package await waits for states that send no signal.
package await

import (
	"context"
	"fmt"
	"time"
)

// pollInterval is how often a state is looked at.
const pollInterval = 5 * time.Millisecond

// Until polls until ok returns nil. When ctx ends it returns the last error of ok,
// which says what is missing, and what was waited for.
func Until(ctx context.Context, what string, ok func() error) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", what, err)
		case <-ticker.C:
		}
	}
}
