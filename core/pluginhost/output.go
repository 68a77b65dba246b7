package pluginhost

import (
	"strings"
	"time"
)

// A plugin that prints endlessly must not fill the disk with the gateway's log, nor slow down the gateway. In each window of time a bounded
// part is logged, and the rest is read, counted and dropped. The pipe never fills, so the plugin never blocks.
const (
	outputWindow = 10 * time.Second
	// outputLines and outputBytes bound what is logged per window.
	outputLines = 1000
	outputBytes = 1 << 20
	// outputBreath is how long the reader sleeps for each outputGulp of bytes that it drops, so that a flood costs a bounded part of a
	// processor.
	outputBreath = 10 * time.Millisecond
	outputGulp   = 256 << 10
)

// outputBound counts what a plugin printed within the current window. Guarded by lineLog.mu.
type outputBound struct {
	since          time.Time
	lines, bytes   int
	dropped, gulp  int
	droppedInBytes int64
}

// admit counts a line and reports whether to log it.
func (l *lineLog) admit(size int) bool {
	l.mu.Lock()
	b := &l.bound
	if now := time.Now(); now.Sub(b.since) >= outputWindow {
		l.mu.Unlock()
		l.sumUp()
		l.mu.Lock()
		b.since, b.lines, b.bytes = now, 0, 0
	}
	defer l.mu.Unlock()
	b.lines++
	b.bytes += size
	return b.lines <= outputLines && b.bytes <= outputBytes
}

// omit drops a line from the log, but remembers it, because it may explain the plugin's end.
func (l *lineLog) omit(line []byte) {
	l.mu.Lock()
	b := &l.bound
	b.dropped++
	b.droppedInBytes += int64(len(line))
	b.gulp += len(line)
	rest := b.gulp >= outputGulp
	if rest {
		b.gulp = 0
	}
	l.keep(clip(strings.ToValidUTF8(string(line[:min(len(line), 2*maxLastLine)]), "?")))
	l.mu.Unlock()
	if rest {
		time.Sleep(outputBreath)
	}
}

// sumUp logs how much was dropped.
func (l *lineLog) sumUp() {
	l.mu.Lock()
	b := &l.bound
	dropped, size := b.dropped, b.droppedInBytes
	b.dropped, b.droppedInBytes = 0, 0
	l.mu.Unlock()
	if dropped > 0 {
		l.log.Warn("the plugin prints more than is logged of it", "not_written", dropped, "bytes", size, "within", outputWindow)
	}
}
