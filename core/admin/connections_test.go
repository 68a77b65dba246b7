package admin

import (
	"bufio"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
)

func TestConnectionsOfTheAdminServerAreBoundedAndNewOnesGetIn(t *testing.T) {
	s := New(Options{Address: "127.0.0.1:0", Token: "secret", Gatherer: prometheus.NewRegistry(), Backend: &backend{}, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, s.Start())
	t.Cleanup(s.Close)
	asks := func() (net.Conn, int) {
		nc, err := net.Dial("tcp", s.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		require.NoError(t, nc.SetDeadline(time.Now().Add(time.Minute)))
		_, err = nc.Write([]byte("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
		require.NoError(t, err)
		answer, err := http.ReadResponse(bufio.NewReader(nc), nil)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		return nc, answer.StatusCode
	}
	first, status := asks()
	require.Equal(t, http.StatusOK, status)
	for range mostConnections + 20 {
		_, status := asks()
		require.Equal(t, http.StatusOK, status, "whoever comes gets an answer")
	}
	s.conns.mu.Lock()
	open := len(s.conns.open)
	s.conns.mu.Unlock()
	require.LessOrEqual(t, open, mostConnections)
	_, err := first.Read(make([]byte, 1))
	require.Error(t, err, "the one without a request for longest is closed")
}

func TestWhatTheHTTPServerReportsIsBoundedAndPanicsAreErrors(t *testing.T) {
	b := &testlog.Buffer{}
	h := httpErrors{slog.New(slog.NewTextHandler(b, nil))}
	_, err := h.Write([]byte("http: TLS handshake error from 192.0.2.1:5: EOF\n"))
	require.NoError(t, err)
	require.Empty(t, b.String(), "anybody can cause it")
	_, err = h.Write([]byte("http: panic serving 192.0.2.1:5: oh\ngoroutine 1\n"))
	require.NoError(t, err)
	require.Contains(t, b.String(), "level=ERROR")
}
