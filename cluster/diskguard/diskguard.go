// Package diskguard watches the room on a node's disk and says when writes must
// stop, while raft still has room for its own.
//
// A full disk makes hashicorp/raft step down and panic when it can't save a
// term. So writes are refused early, and a ballast file keeps room for the worst
// case.
package diskguard

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Interval is how often the disk is looked at.
	Interval = time.Second
	// ballastSize is how much room is kept, in bytes, at most ballastShare of
	// the file system.
	ballastSize  = 64 << 20
	ballastShare = 0.02
	ballastFile  = "ballast"
	// hysteresis keeps the answer from flapping: writes come back when this much
	// more than the minimum is free.
	hysteresis = 0.02
	// critical is the share of free disk at which the ballast is thrown out.
	critical = 0.02
)

// Usage is a file system's size and free room, in bytes, without what is reserved for
// others: Free of Total is the share that df shows.
type Usage struct{ Total, Free uint64 }

// Options are what a guard is made from.
type Options struct {
	Dir string
	// MinFree is the share of the disk below which writes are refused.
	MinFree float64
	// Measure is Statfs unless a test says otherwise.
	Measure func(dir string) (Usage, error)
	Logger  *slog.Logger
}

// Guard watches one directory. Its goroutine owns the ballast file.
type Guard struct {
	opts     Options
	readOnly atomic.Bool
	usage    atomic.Pointer[Usage] // as last measured
	cancel   context.CancelFunc
	tasks    sync.WaitGroup
}

// Open looks once and then every Interval until Close.
func Open(opts Options) (*Guard, error) {
	if opts.Measure == nil {
		opts.Measure = Statfs
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Guard{opts: opts, cancel: cancel}
	if err := g.check(); err != nil {
		cancel()
		return nil, err
	}
	g.tasks.Go(func() { g.watch(ctx) })
	return g, nil
}

// Statfs measures a directory's file system as an unprivileged process sees it.
func Statfs(dir string) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return Usage{}, fmt.Errorf("measure disk of %s: %w", dir, err)
	}
	size := uint64(s.Bsize)
	return Usage{Total: (s.Blocks - s.Bfree + s.Bavail) * size, Free: s.Bavail * size}, nil
}

// ReadOnly tells whether writes must be refused.
func (g *Guard) ReadOnly() bool { return g.readOnly.Load() }

// Usage is what was measured last.
func (g *Guard) Usage() Usage { return *g.usage.Load() }

// Close ends the watching. The ballast stays.
func (g *Guard) Close() error {
	g.cancel()
	g.tasks.Wait()
	return nil
}

func (g *Guard) watch(ctx context.Context) {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := g.check(); err != nil {
				g.opts.Logger.Error("disk guard", slog.Any("error", err))
			}
		}
	}
}

// check measures and decides. The ballast counts as used.
func (g *Guard) check() error {
	usage, err := g.opts.Measure(g.opts.Dir)
	if err != nil {
		return err
	}
	if usage.Total == 0 {
		return fmt.Errorf("disk of %s has no size", g.opts.Dir)
	}
	g.usage.Store(&usage)
	free := float64(usage.Free) / float64(usage.Total)
	before := g.readOnly.Load()
	now := free < g.opts.MinFree || (before && free < g.opts.MinFree+hysteresis)
	g.readOnly.Store(now)
	if now != before {
		g.opts.Logger.Warn("disk guard", slog.Bool("readOnly", now), slog.Float64("freeShare", free),
			slog.String("dir", g.opts.Dir), slog.String("advice", "free disk space; nothing acknowledged is lost"))
	}
	if free < critical {
		return g.dropBallast()
	}
	if !now {
		return g.keepBallast(usage)
	}
	return nil
}

func (g *Guard) ballast() string { return filepath.Join(g.opts.Dir, ballastFile) }

func (g *Guard) dropBallast() error {
	err := os.Remove(g.ballast())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove ballast: %w", err)
	}
	g.opts.Logger.Warn("ballast thrown out: the disk is full", slog.String("dir", g.opts.Dir))
	return nil
}

// keepBallast makes the file if it is not there, with its blocks allocated.
func (g *Guard) keepBallast(usage Usage) error {
	if _, err := os.Stat(g.ballast()); err == nil {
		return nil
	}
	size := min(int64(ballastSize), int64(float64(usage.Total)*ballastShare))
	f, err := os.OpenFile(g.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make ballast: %w", err)
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		// A file system without fallocate: the early refusal must do.
		g.opts.Logger.Warn("no ballast", "error", err)
		return errors.Join(f.Close(), os.Remove(g.ballast()))
	}
	return f.Close()
}
