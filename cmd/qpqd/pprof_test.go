//go:build unix

package main_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// `qpqd run --pprof` gives profiles to whoever may open the node's files, also after a
// crash has left its socket behind, and to nobody without the flag.
func TestRunGivesProfiles(t *testing.T) {
	binary := buildBinary(t)
	root := filepath.Join(t.TempDir(), "c")
	if out, err := exec.CommandContext(t.Context(), binary, "init", "--out", root, "--node", "n1="+freePorts(t, 1)[0]).CombinedOutput(); err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	socket := filepath.Join(root, "n1", "pprof.sock")
	get := func(what string) (string, error) {
		client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}}}
		defer client.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node/debug/pprof/"+what, http.NoBody)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	for _, crash := range []bool{true, false} {
		p := start(t, binary, "run", "--dir", filepath.Join(root, "n1"), "--pprof")
		awaitStatus(t, binary, root, "leader", whole)
		if body, err := get("goroutine?debug=1"); err != nil || !strings.Contains(body, "goroutine profile: total") {
			t.Errorf("goroutines: %v, %.200q", err, body)
		}
		if body, err := get("profile?seconds=1"); err != nil || !strings.HasPrefix(body, "\x1f\x8b") {
			t.Errorf("a second of processor time: %v, %.200q; want a compressed profile", err, body)
		}
		if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the socket: %v, %v; want it for its owner alone", info, err)
		}
		if crash {
			p.signal(t, syscall.SIGKILL)
		} else {
			p.signal(t, syscall.SIGTERM)
		}
	}
	p := start(t, binary, "run", "--dir", filepath.Join(root, "n1"))
	awaitStatus(t, binary, root, "leader", whole)
	if body, err := get(""); err == nil {
		t.Errorf("without --pprof: %.200q", body)
	}
	p.signal(t, syscall.SIGTERM)
}
