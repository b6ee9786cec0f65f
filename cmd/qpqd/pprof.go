package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// profileSocket is the Unix socket in a node's directory that gives profiles.
const profileSocket = "pprof.sock"

// Rates of the profiles that the runtime keeps only when it is asked to.
const (
	mutexFraction = 100              // one contended lock in so many
	blockRate     = time.Millisecond // a sample for so much time blocked
)

// serveProfiles gives the Go runtime's profiles (net/http/pprof) on a socket in a node's
// directory, for whoever may open files there, until stop is called. The node runs
// already: a socket that lies there is a crashed one's.
func serveProfiles(on bool, dir string, logger *slog.Logger) (stop func(context.Context) error, err error) {
	if !on {
		return func(context.Context) error { return nil }, nil
	}
	path := filepath.Join(dir, profileSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, exitError{exitIO, fmt.Errorf("remove an old socket: %w", err)}
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, exitError{exitIO, fmt.Errorf("listen for --pprof: %w", err)}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, exitError{exitIO, errors.Join(fmt.Errorf("close the socket to others: %w", err), listener.Close())}
	}
	runtime.SetMutexProfileFraction(mutexFraction)
	runtime.SetBlockProfileRate(int(blockRate))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return serveHTTP(&http.Server{Handler: mux, ReadTimeout: metricsTimeout, MaxHeaderBytes: 16 << 10}, listener, logger, "profiles are served", path), nil
}

// serveHTTP serves on a listener until stop is called.
func serveHTTP(server *http.Server, listener net.Listener, logger *slog.Logger, what, where string) (stop func(context.Context) error) {
	server.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelWarn)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	logger.Info(what, "at", where)
	return func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}
}
