package rocketmq

import (
	"context"
	"log/slog"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// clientLog forwards rocketmq-client-go's log to slog at a lower level: it is verbose, and errors that matter are returned as errors
// anyway.
type clientLog struct {
	mu  sync.Mutex
	log *slog.Logger
}

var (
	_ rlog.Logger = (*clientLog)(nil)
	// theClientLog is shared by the process, because rocketmq-client-go's logger is. The store created last gets the lines.
	theClientLog    clientLog
	setClientLogger sync.Once
)

func bridgeLog(log *slog.Logger) {
	theClientLog.mu.Lock()
	theClientLog.log = log
	theClientLog.mu.Unlock()
	setClientLogger.Do(func() { rlog.SetLogger(&theClientLog) })
}

func (l *clientLog) write(level slog.Level, msg string, fields map[string]any) {
	l.mu.Lock()
	log := l.log
	l.mu.Unlock()
	if log == nil || !log.Enabled(context.Background(), level) {
		return
	}
	args := make([]any, 0, 2*len(fields)+2)
	args = append(args, "from", "rocketmq-client-go")
	for k, v := range fields {
		args = append(args, k, v)
	}
	log.Log(context.Background(), level, msg, args...)
}

// levelTrace is below debug: nobody sees it without asking for it in code.
const levelTrace = slog.LevelDebug - 4

func (l *clientLog) Debug(msg string, f map[string]any)   { l.write(levelTrace, msg, f) }
func (l *clientLog) Info(msg string, f map[string]any)    { l.write(levelTrace, msg, f) }
func (l *clientLog) Warning(msg string, f map[string]any) { l.write(slog.LevelDebug, msg, f) }
func (l *clientLog) Error(msg string, f map[string]any)   { l.write(slog.LevelDebug, msg, f) }
func (l *clientLog) Fatal(msg string, f map[string]any)   { l.write(slog.LevelError, msg, f) }

// Level does nothing: slog replaces rocketmq-client-go's own log configuration.
func (l *clientLog) Level(string) {}

// OutputPath does nothing; see Level.
func (l *clientLog) OutputPath(string) error { return nil }
