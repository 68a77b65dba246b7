package calm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func logger(b io.Writer) *slog.Logger {
	return slog.New(New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelInfo})))
}

func TestLongNamesAreCutWhereverTheyAre(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for name, write := range map[string]func(*slog.Logger){
		"a name":              func(l *slog.Logger) { l.Info("m", "client", long) },
		"a name at debug":     func(l *slog.Logger) { l.Debug("m", "client", long) },
		"an error with names": func(l *slog.Logger) { l.Info("m", "error", fmt.Errorf("topic %q: %w", long, errors.New(long))) },
		"bytes":               func(l *slog.Logger) { l.Info("m", "topic", []byte(long)) },
		"the message":         func(l *slog.Logger) { l.Info(long) },
		"with":                func(l *slog.Logger) { l.With("client", long).Info("m") },
		"a group":             func(l *slog.Logger) { l.Info("m", slog.Group("g", "user", long)) },
		"zero bytes":          func(l *slog.Logger) { l.Info("m", "client", strings.Repeat("\x00", 65535)) },
		"a list":              func(l *slog.Logger) { l.Info("m", "topics", []string{long, long}) },
	} {
		var b bytes.Buffer
		write(logger(&b))
		require.Less(t, b.Len(), 2048, name)
	}
	var b bytes.Buffer
	logger(&b).Info("m", "client", strings.Repeat("é", 100), "topic", "short")
	require.Contains(t, b.String(), strings.Repeat("é", 64)+"… (200 bytes)")
	require.Contains(t, b.String(), "topic=short")
	b.Reset()
	logger(&b).Error("m", "stack", strings.Repeat("y", 8000))
	require.Contains(t, b.String(), strings.Repeat("y", 8000))
}

func TestRepeatedWarningsOfASourceAreCountedAndSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b testlog.Buffer
		l := logger(&b)
		for i := range 1000 {
			l.Warn("client refused", "client", fmt.Sprint("c", i), "remote", fmt.Sprintf("192.0.2.1:%d", i+1))
		}
		l.Warn("client refused", "client", "honest", "remote", "192.0.2.2:1")
		l.Warn("something else", "remote", "192.0.2.1:1")
		require.Equal(t, perSource+2, strings.Count(b.String(), "\n"))
		require.Contains(t, b.String(), "honest")
		time.Sleep(window + time.Second)
		synctest.Wait()
		require.Contains(t, b.String(), `msg="repeated: client refused" not_written=980 sources=2 most_from=192.0.2.1 of_these=1000 within=10s`)
		require.Equal(t, perSource+3, strings.Count(b.String(), "\n"))
		l.Warn("client refused", "client", "later", "remote", "192.0.2.1:1")
		require.Contains(t, b.String(), "later")
		time.Sleep(window + time.Second)
		synctest.Wait()
		require.Equal(t, perSource+4, strings.Count(b.String(), "\n"), "nothing was left out")
	})
}

func TestManySourcesCostABoundedNumberOfLinesAndBoundedMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b testlog.Buffer
		h := New(slog.NewTextHandler(&b, nil))
		l := slog.New(h)
		for i := range 100_000 {
			l.Warn("refused", "remote", fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
		}
		require.Equal(t, perMessage, strings.Count(b.String(), "\n"))
		h.counts.mu.Lock()
		sources := len(h.counts.written["refused"].bySource)
		h.counts.mu.Unlock()
		require.LessOrEqual(t, sources, maxSources+1)
		time.Sleep(window + time.Second)
		synctest.Wait()
		require.Contains(t, b.String(), "not_written=99800")
	})
}

func TestErrorsAndInformationAreAllWritten(t *testing.T) {
	var b bytes.Buffer
	l := logger(&b)
	for range 500 {
		l.Error("m", "client", "c")
		l.Info("m", "client", "c")
		l.Warn("without a source")
	}
	require.Equal(t, 1500, strings.Count(b.String(), "\n"))
}

func TestWarningsAboutTopicsAreBounded(t *testing.T) {
	var b bytes.Buffer
	l := logger(&b)
	for i := range 5000 {
		l.Warn("unknown first-level topic", "topic", strconv.Itoa(i))
	}
	require.Equal(t, perMessage, strings.Count(b.String(), "\n"))
}
