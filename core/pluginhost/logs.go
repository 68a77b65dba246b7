package pluginhost

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
)

const (
	// maxLogLine bounds one line of a plugin's output; the rest of a longer line is dropped.
	maxLogLine = 64 << 10
	// maxLastLine bounds the line that an error message repeats.
	maxLastLine = 300
	// maxTail is how many output lines the error of a plugin that ended during its start repeats.
	maxTail = 20
)

// lineLog merges a plugin's output into the gateway's log: go-hclog's JSON lines keep their level and attributes, all other lines are text.
// A plugin's output can never do more than add lines.
type lineLog struct {
	log *slog.Logger

	mu sync.Mutex
	// last is the newest line that was not merely informational, for errors that say why a plugin ended.
	last string
	// panicking is set at the first line of a Go panic; the following lines are its stack.
	panicking bool
	// lines are the newest lines of the output; after a panic, the first lines from the panic on, because the end of a stack says less.
	lines []string
	// bound limits how much of the output is logged.
	bound outputBound
}

// read logs every line of r until it ends.
func (l *lineLog) read(r io.Reader) {
	buffered := bufio.NewReaderSize(r, maxLogLine)
	for {
		line, err := buffered.ReadSlice('\n')
		if text := bytes.TrimSpace(line); len(text) > 0 {
			if l.admit(len(text)) {
				l.line(text)
			} else {
				l.omit(text)
			}
		}
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = buffered.ReadSlice('\n')
		}
		if err != nil {
			l.sumUp()
			return
		}
	}
}

func (l *lineLog) line(line []byte) {
	if level, msg, attrs, ok := parseLine(line); ok {
		if level >= slog.LevelInfo {
			l.remember(level, msg, attrs)
		}
		l.log.LogAttrs(context.Background(), level, msg, attrs...)
		return
	}
	text := strings.ToValidUTF8(string(line), "?")
	level := slog.LevelInfo
	l.mu.Lock()
	if !l.panicking && (strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")) {
		l.lines = nil
	}
	l.keep(clip(text))
	if strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ") {
		l.panicking = true
		l.last = clip(text)
	}
	if l.panicking {
		level = slog.LevelError
	} else {
		l.last = clip(text)
	}
	l.mu.Unlock()
	l.log.Log(context.Background(), level, text)
}

func (l *lineLog) remember(level slog.Level, msg string, attrs []slog.Attr) {
	if i := slices.IndexFunc(attrs, func(a slog.Attr) bool { return a.Key == "error" }); i >= 0 {
		msg += ": " + attrs[i].Value.String()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keep(clip(msg))
	if !l.panicking && level >= slog.LevelWarn {
		l.last = clip(msg)
	}
}

// keep adds a line to those that tail returns; l.mu is held.
func (l *lineLog) keep(line string) {
	switch {
	case len(l.lines) < maxTail:
		l.lines = append(l.lines, line)
	case !l.panicking:
		l.lines = append(l.lines[:copy(l.lines, l.lines[1:])], line)
	}
}

// tail returns the last lines that the plugin printed.
func (l *lineLog) tail() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// lastLine returns the last line that may explain the plugin's end, or "".
func (l *lineLog) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxLastLine {
		s = strings.ToValidUTF8(s[:maxLastLine], "") + "..."
	}
	return s
}

// parseLine parses a line in go-hclog's JSONFormat.
func parseLine(line []byte) (level slog.Level, msg string, attrs []slog.Attr, ok bool) {
	if line[0] != '{' {
		return 0, "", nil, false
	}
	var raw map[string]any
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	if dec.Decode(&raw) != nil {
		return 0, "", nil, false
	}
	msg, ok = raw["@message"].(string)
	if !ok {
		return 0, "", nil, false
	}
	name, _ := raw["@level"].(string)
	switch name {
	case "trace", "debug":
		level = slog.LevelDebug
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		level = slog.LevelInfo
	}
	keys := make([]string, 0, len(raw))
	for k := range raw {
		// The host adds the plugin's name and the time, so a plugin cannot impersonate another.
		if !strings.HasPrefix(k, "@") && k != "plugin" {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		switch v := raw[k].(type) {
		case string:
			attrs = append(attrs, slog.String(k, v))
		default:
			attrs = append(attrs, slog.Any(k, v))
		}
	}
	return level, msg, attrs, true
}

// quiet is the logger of go-plugin. It discards everything, because what matters is returned as errors.
type quiet struct {
	hclog.Logger
	log *slog.Logger
}

func quietLogger(log *slog.Logger) hclog.Logger {
	return quiet{Logger: hclog.NewNullLogger(), log: log}
}

func (q quiet) write(msg string, args []any) {
	q.log.Debug("go-plugin: "+msg, "details", fmt.Sprint(args...))
}

func (q quiet) Log(_ hclog.Level, msg string, args ...any) { q.write(msg, args) }
func (q quiet) Debug(msg string, args ...any)              { q.write(msg, args) }
func (q quiet) Info(msg string, args ...any)               { q.write(msg, args) }
func (q quiet) Warn(msg string, args ...any)               { q.write(msg, args) }
func (q quiet) Error(msg string, args ...any)              { q.write(msg, args) }
func (q quiet) With(...any) hclog.Logger                   { return q }
func (q quiet) Named(string) hclog.Logger                  { return q }
func (q quiet) ResetNamed(string) hclog.Logger             { return q }
