package mqtt_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/mqtt"
	"github.com/lmqgate/lmqgate/core/mqtt/mqtttest"
	"github.com/lmqgate/lmqgate/internal/testlog"
)

// expand derives a secret of TLS 1.3 from another (RFC 8446, 7.1).
func expand(t *testing.T, secret []byte, label string, length int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := string([]byte{0, byte(length), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(sha256.New, secret, info, length)
	require.NoError(t, err)
	return out
}

// keyUpdates encodes updates of a client's keys, each in a record of its own.
func keyUpdates(t *testing.T, secret []byte, count int) []byte {
	t.Helper()
	var out []byte
	for range count {
		block, err := aes.NewCipher(expand(t, secret, "key", 16))
		require.NoError(t, err)
		aead, err := cipher.NewGCM(block)
		require.NoError(t, err)
		header := []byte{23, 3, 3, 0, 6 + 16}
		out = append(out, header...)
		// The first record after an update has the sequence number 0, so its nonce is the IV.
		out = aead.Seal(out, expand(t, secret, "iv", 12), []byte{24, 0, 0, 1, 0, 22}, header)
		secret = expand(t, secret, "traffic upd", 32)
	}
	return out
}

func TestAClientThatUpdatesItsKeysWithoutEndIsDisconnected(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	server := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue("server")}}
	var log testlog.Buffer
	n := mqtttest.Start(t, func(c *mqtttest.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.MQTT.ConnectTimeout = 2 * mqtttest.Patience
	}, listening(mqtt.Listener{Type: "tls", Address: "127.0.0.1:0", TLS: server}))
	raw := dial(t, n.Addr(0))
	defer raw.Close()
	require.NoError(t, raw.SetDeadline(time.Now().Add(mqtttest.Patience)))
	var keys bytes.Buffer
	client := tls.Client(raw, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.pool(), ServerName: "127.0.0.1", KeyLogWriter: &keys})
	require.NoError(t, client.Handshake())
	if client.ConnectionState().CipherSuite != tls.TLS_AES_128_GCM_SHA256 {
		t.Skip("the records are made for AES")
	}
	var secret []byte
	for line := range strings.Lines(keys.String()) {
		if f := strings.Fields(line); f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			var err error
			secret, err = hex.DecodeString(f[2])
			require.NoError(t, err)
		}
	}
	go func() { _, _ = raw.Write(keyUpdates(t, secret, 100)) }()
	_, err := io.Copy(io.Discard, raw)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server closes the connection")
	mqtttest.Eventually(t, "the reason is logged", func() bool { return strings.Contains(log.String(), "too many non-advancing records") })
}
