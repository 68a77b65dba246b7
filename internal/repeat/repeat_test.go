package repeat

import (
	"bytes"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// lines returns what was logged since the last call, without timestamps.
func lines(b *buffer) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := strings.TrimSpace(regexp.MustCompile(`time=\S+ `).ReplaceAllString(b.String(), ""))
	b.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func TestARepeatedLineIsLoggedAtOnceAndThenWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := New(slog.New(slog.NewTextHandler(&b, nil)), 10*time.Second)
		defer l.Close()
		l.Warn("a", "it failed", "client", "c1")
		l.Error("b", "that failed")
		require.Equal(t, []string{`level=WARN msg="it failed" client=c1`, `level=ERROR msg="that failed"`}, lines(&b))
		for i := range 50 {
			l.Warn("a", "it failed", "client", fmt.Sprint("c", i+2))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		require.Empty(t, lines(&b))
		time.Sleep(6 * time.Second)
		synctest.Wait()
		require.Equal(t, []string{`level=WARN msg="it failed" client=c51 times=50`}, lines(&b))
		l.Warn("a", "it failed", "client", "c1")
		require.Empty(t, lines(&b), "it goes on")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{`level=WARN msg="it failed" client=c1 times=1`}, lines(&b))
		l.Warn("a", "it failed")
		require.Equal(t, []string{`level=WARN msg="it failed"`}, lines(&b), "after a pause it is the first again")
	})
}

func TestNothingThatWasCountedIsLostAtTheEnd(t *testing.T) {
	var b buffer
	l := New(slog.New(slog.NewTextHandler(&b, nil)), time.Hour)
	for range 3 {
		l.Warn("a", "it failed")
	}
	l.Close()
	l.Close()
	l.Warn("a", "late")
	require.Equal(t, []string{`level=WARN msg="it failed"`, `level=WARN msg="it failed" times=2`, `level=WARN msg=late`}, lines(&b))
}

func TestTheKindsThatAreCountedApartAreBounded(t *testing.T) {
	var b buffer
	l := New(slog.New(slog.NewTextHandler(&b, nil)), time.Hour)
	defer l.Close()
	for i := range 10 * maxKinds {
		l.Warn(fmt.Sprint(i), "it failed")
	}
	require.Len(t, lines(&b), maxKinds+1)
	require.LessOrEqual(t, len(l.kinds), maxKinds+1)
}
