// Package calm bounds what unauthenticated clients can make a gateway log. Handler wraps the handler that writes: it truncates long texts,
// and counts repeated lines instead of writing them. It is the outermost handler, so no line can bypass it.
package calm

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxName bounds a name that a client chose, in bytes; maxText bounds any other text, such as an error, which may contain names;
	// maxReport bounds texts that only the gateway or its plugins produce.
	maxName   = 128
	maxText   = 1024
	maxReport = 64 << 10
	// window is how long repeated lines are counted before a summary.
	window = 10 * time.Second
	// perSource and perMessage bound the lines of one message within a window: per source, and in total.
	perSource  = 20
	perMessage = 200
	// maxSources bounds the sources that are counted separately within a window; lines of further sources are counted together.
	maxSources = 1024
)

// names are the keys whose values clients choose.
var names = map[string]bool{"client": true, "user": true, "identity": true, "topic": true, "filter": true, "group": true, "method": true,
	"origin": true, "first_level": true, "queue": true}

// reports are the keys of texts that do not come from clients and may be long.
var reports = map[string]bool{"stack": true, "output": true}

// sources are the keys that identify who caused a line; the first one that a line has counts.
var sources = []string{"remote", "client", "listener", "topic"}

// Handler is a slog.Handler that wraps another. Debug lines are truncated but all written; so are errors, which unauthenticated clients
// cannot cause. Warnings that name a source, and info lines about a connection (with the key "remote"), are limited within ten seconds:
// from the 21st line of a source, and from the 201st of all sources, lines are only counted, and the count is written when the ten seconds
// are over.
type Handler struct {
	next   slog.Handler
	counts *counts
	source string // source in the attributes of WithAttrs
}

var _ slog.Handler = (*Handler)(nil)

// New makes a Handler.
func New(next slog.Handler) *Handler { return &Handler{next: next, counts: &counts{next: next}} }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	out := *h
	short := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		short[i] = cut(a)
		if slices.Contains(sources, a.Key) {
			out.source = sourceOf(a)
		}
	}
	out.next = h.next.WithAttrs(short)
	return &out
}

// WithGroup implements slog.Handler.
func (h *Handler) WithGroup(name string) slog.Handler {
	out := *h
	out.next = h.next.WithGroup(name)
	return &out
}

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	source, rank := h.source, len(sources)
	short := slog.NewRecord(r.Time, r.Level, shortened(r.Message, maxText), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if at := slices.Index(sources, a.Key); at >= 0 && at < rank {
			source, rank = sourceOf(a), at
		}
		short.AddAttrs(cut(a))
		return true
	})
	bounded := r.Level == slog.LevelWarn && source != "" || r.Level == slog.LevelInfo && rank == 0
	if bounded && !h.counts.allow(r.Level, r.Message, source) {
		return nil
	}
	return h.next.Handle(ctx, short)
}

// sourceOf returns the source of a line, without the port of an address.
func sourceOf(a slog.Attr) string {
	text := a.Value.Resolve().String()
	if at, err := netip.ParseAddrPort(text); err == nil {
		text = at.Addr().Unmap().String()
	}
	return shortened(text, maxName)
}

// cut truncates the texts of an attribute.
func cut(a slog.Attr) slog.Attr {
	limit := maxText
	switch {
	case names[a.Key]:
		limit = maxName
	case reports[a.Key]:
		limit = maxReport
	}
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		return slog.String(a.Key, shortened(v.String(), limit))
	case slog.KindGroup:
		group := slices.Clone(v.Group())
		for i := range group {
			group[i] = cut(group[i])
		}
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(group...)}
	case slog.KindAny:
		return cutAny(a.Key, v, limit)
	default:
		return slog.Attr{Key: a.Key, Value: v}
	}
}

// cutAny truncates values that are written as text; other values, such as lists, stay unchanged if they are short.
func cutAny(key string, v slog.Value, limit int) slog.Attr {
	var text string
	switch x := v.Any().(type) {
	case nil:
		return slog.Attr{Key: key, Value: v}
	case error:
		text = x.Error()
	default:
		text = v.String()
		if len(text) <= limit {
			return slog.Attr{Key: key, Value: v}
		}
	}
	return slog.String(key, shortened(text, limit))
}

// shortened returns the first bytes of a text and, if it was cut, its length. It does not split characters.
func shortened(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > limit-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "… (" + strconv.Itoa(len(s)) + " bytes)"
}

// counts holds the counts of the current window.
type counts struct {
	next slog.Handler // for the sums

	mu      sync.Mutex
	written map[string]*message
	closing *time.Timer
}

// message holds the counts of one message.
type message struct {
	level          slog.Level
	lines, omitted int
	bySource       map[string]int
	worst          string // the source with the most lines
}

// allow counts a line and reports whether to write it.
func (c *counts) allow(level slog.Level, text, source string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written == nil {
		c.written = make(map[string]*message)
		c.closing = time.AfterFunc(window, c.sum)
	}
	m := c.written[text]
	if m == nil {
		m = &message{level: level, bySource: make(map[string]int)}
		c.written[text] = m
	}
	if _, known := m.bySource[source]; !known && len(m.bySource) >= maxSources {
		source = "others"
	}
	m.bySource[source]++
	if m.bySource[source] > m.bySource[m.worst] {
		m.worst = source
	}
	if m.bySource[source] <= perSource && m.lines < perMessage {
		m.lines++
		return true
	}
	m.omitted++
	return false
}

// sum ends the window: it writes one line per message about the suppressed lines.
func (c *counts) sum() {
	c.mu.Lock()
	written := c.written
	c.written = nil
	c.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(written)) {
		m := written[text]
		if m.omitted == 0 {
			continue
		}
		r := slog.NewRecord(time.Now(), m.level, "repeated: "+text, 0)
		r.AddAttrs(slog.Int("not_written", m.omitted), slog.Int("sources", len(m.bySource)), slog.String("most_from", m.worst),
			slog.Int("of_these", m.bySource[m.worst]), slog.Duration("within", window))
		_ = c.next.Handle(context.Background(), r) // there is nowhere to report an error
	}
}
