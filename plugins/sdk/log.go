package sdk

import (
	"io"
	"log/slog"
	"strings"
)

// hclogTime is the time format of go-hclog, which the gateway parses.
const hclogTime = "2006-01-02T15:04:05.000000Z07:00"

// newLogger returns a logger that writes go-hclog's JSON lines, which a gateway merges into its own log with their levels. All levels are
// written; the gateway filters by its own level.
func newLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) > 0 {
				return a
			}
			switch a.Key {
			case slog.TimeKey:
				return slog.String("@timestamp", a.Value.Time().Format(hclogTime))
			case slog.LevelKey:
				return slog.String("@level", levelName(a.Value.Any()))
			case slog.MessageKey:
				return slog.String("@message", a.Value.String())
			}
			return a
		},
	}))
}

// levelName returns go-hclog's name of a level.
func levelName(v any) string {
	level, ok := v.(slog.Level)
	if !ok {
		return "info"
	}
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return strings.ToLower(slog.LevelError.String())
}
