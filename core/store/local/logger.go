package local

import (
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
)

// logger receives pebble's messages. It drops information and logs errors as warnings. A fatal message, after which pebble would exit the
// process, becomes a failure of the store.
type logger struct {
	log        *slog.Logger
	fail       func(error)
	background func(error)
}

var _ pebble.Logger = (*logger)(nil)

func (l *logger) Infof(string, ...any) {}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Warn("local store", "detail", inBrief(fmt.Errorf(format, args...)).Error())
}

func (l *logger) Fatalf(format string, args ...any) {
	l.fail(fmt.Errorf(format, args...))
}

// events forwards pebble's reports of background errors, corruption and slow disks.
func (l *logger) events() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: l.background,
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			l.fail(fmt.Errorf("data corruption in %s: %w", info.Path, info.Details))
		},
		DiskSlow: func(info pebble.DiskSlowInfo) {
			l.log.Warn("local store: slow disk", "path", info.Path, "operation", info.OpType.String(), "duration", info.Duration)
		},
	}
}
