package cluster

import (
	"strings"
	"testing"

	"quicproquo/schemas"
)

// More settings than any cluster has are not read from a peer.
func TestSettingsOfAPeer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rows int
		want string
	}{{0, ""}, {maxSettings, ""}, {maxSettings + 1, "at most"}} {
		_, seg := schemas.NewMessage()
		list, err := schemas.NewRootSettingList(seg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := list.NewSettings(int32(c.rows)); err != nil {
			t.Fatal(err)
		}
		values, err := readSettings(list)
		switch {
		case c.want == "" && (err != nil || len(values) != c.rows):
			t.Errorf("%d settings: %d, %v", c.rows, len(values), err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%d settings: %v, want %q", c.rows, err, c.want)
		}
	}
}
