package pluginhost

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func logged(t *testing.T, lines string) (string, *lineLog) {
	t.Helper()
	var out bytes.Buffer
	l := &lineLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})).With("plugin", "p")}
	l.read(strings.NewReader(lines))
	return out.String(), l
}

func TestAPluginsLinesAreMergedWithTheirLevel(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`{"@level":"warn","@message":"m","@timestamp":"x","b":1,"a":"s","plugin":"other"}`: "level=WARN msg=m plugin=p a=s b=1\n",
		`{"@level":"trace","@message":"m"}`:                                                "level=DEBUG msg=m plugin=p\n",
		`{"@level":"unheard of","@message":"m"}`:                                           "level=INFO msg=m plugin=p\n",
		`plain text`:                                                                       "level=INFO msg=\"plain text\" plugin=p\n",
		`{"@message":5}`:                                                                   "level=INFO msg=\"{\\\"@message\\\":5}\" plugin=p\n",
		`{"@level":7,"@message":"m","@timestamp":1}`:                                       "level=INFO msg=m plugin=p\n",
		`{broken`: "level=INFO msg={broken plugin=p\n",
		``:        "",
		"  \n\n ": "",
	} {
		got, _ := logged(t, line+"\n")
		require.Equal(t, want, got, line)
	}
}

func TestAPanicIsLoggedAsErrorsAndItsFirstLineIsRemembered(t *testing.T) {
	t.Parallel()
	got, l := logged(t, "starting\npanic: no such thing\n\ngoroutine 1 [running]:\nmain.main()\n")
	require.Equal(t, 3, strings.Count(got, "level=ERROR"))
	require.Equal(t, "panic: no such thing", l.lastLine())
}

func TestALineWithoutEndTakesABoundedMemory(t *testing.T) {
	t.Parallel()
	got, _ := logged(t, strings.Repeat("x", 10*maxLogLine)+"\nnext\n")
	require.Less(t, len(got), 2*maxLogLine)
	require.Contains(t, got, "msg=next")
}

func FuzzNoLineOfAPluginHarmsTheHost(f *testing.F) {
	f.Add([]byte(`{"@message":"m","@level":"info","a":{"b":[1,2,null]}}`))
	f.Add([]byte("panic: \xff\x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		l := &lineLog{log: slog.New(slog.DiscardHandler)}
		l.read(bytes.NewReader(line))
		if len(l.lastLine()) > maxLastLine+3 {
			t.Fatal("too much is remembered")
		}
	})
}
