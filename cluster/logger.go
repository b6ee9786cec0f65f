package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/hashicorp/go-hclog"
)

// raftLogger lets hashicorp/raft log through slog.
type raftLogger struct {
	to   *slog.Logger
	name string
	with []any
}

var _ hclog.Logger = raftLogger{}

func newRaftLogger(to *slog.Logger) hclog.Logger { return raftLogger{to: to.With("part", "raft")} }

func (l raftLogger) Log(level hclog.Level, msg string, args ...any) {
	attrs := make([]slog.Attr, 0, len(args)/2)
	for i := 0; i+1 < len(args); i += 2 {
		value := args[i+1]
		if format, ok := value.(hclog.Format); ok && len(format) > 0 {
			value = fmt.Sprintf(fmt.Sprint(format[0]), format[1:]...)
		}
		attrs = append(attrs, slog.Any(fmt.Sprint(args[i]), value))
	}
	l.to.LogAttrs(context.Background(), slogLevel(level), msg, attrs...)
}

func (l raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l raftLogger) enabled(level slog.Level) bool { return l.to.Enabled(context.Background(), level) }

func (l raftLogger) IsTrace() bool { return l.enabled(slog.LevelDebug) }
func (l raftLogger) IsDebug() bool { return l.enabled(slog.LevelDebug) }
func (l raftLogger) IsInfo() bool  { return l.enabled(slog.LevelInfo) }
func (l raftLogger) IsWarn() bool  { return l.enabled(slog.LevelWarn) }
func (l raftLogger) IsError() bool { return l.enabled(slog.LevelError) }

func (l raftLogger) ImpliedArgs() []any { return l.with }

func (l raftLogger) With(args ...any) hclog.Logger {
	return raftLogger{to: l.to.With(args...), name: l.name, with: append(append([]any(nil), l.with...), args...)}
}

func (l raftLogger) Name() string                        { return l.name }
func (l raftLogger) Named(name string) hclog.Logger      { return l.ResetNamed(name) }
func (l raftLogger) ResetNamed(name string) hclog.Logger { l.name = name; return l }
func (l raftLogger) SetLevel(hclog.Level)                {}
func (l raftLogger) GetLevel() hclog.Level               { return hclog.Debug }

func (l raftLogger) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return newStandardLogger(l.to)
}

func (l raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return lineWriter{l.to}
}

// slogLevel: raft calls every peer that can't be reached an error. Here that is
// the normal course of things, worth a warning.
func slogLevel(level hclog.Level) slog.Level {
	switch level {
	case hclog.Error, hclog.Warn:
		return slog.LevelWarn
	case hclog.Info:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

// newStandardLogger is for libraries that want a *log.Logger.
func newStandardLogger(to *slog.Logger) *log.Logger {
	return log.New(lineWriter{to}, "", 0) //nolint:forbidigo // memberlist wants one
}

// lineWriter takes lines such as "[WARN] memberlist: …".
type lineWriter struct{ to *slog.Logger }

func (w lineWriter) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelInfo
	for prefix, l := range map[string]slog.Level{
		"[ERR] ": slog.LevelWarn, "[ERROR] ": slog.LevelWarn, "[WARN] ": slog.LevelWarn,
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo,
	} {
		if rest, ok := strings.CutPrefix(text, prefix); ok {
			text, level = rest, l
			break
		}
	}
	w.to.Log(context.Background(), level, text)
	return len(line), nil
}
