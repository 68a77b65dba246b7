package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSizesAreReadWithBinaryUnits(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "17": 17, "17B": 17, "64KiB": 64 << 10, "1MiB": 1 << 20, "2 GiB": 2 << 30, "8589934591GiB": 8589934591 << 30,
	} {
		got, err := ParseSize(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := ParseSize(got.String())
		require.NoError(t, err)
		require.Equal(t, want, again, "String of a size is a size")
	}
	for _, text := range []string{"", "MiB", "-1", "1MB", "1.5MiB", "8589934592GiB", "99999999999999999999"} {
		_, err := ParseSize(text)
		require.Error(t, err, text)
	}
}

func TestDurationsAreGoDurationsOrSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "3s": 3 * time.Second, "72h": 72 * time.Hour, "1m30s": 90 * time.Second, "60": time.Minute, "250ms": 250 * time.Millisecond,
	} {
		got, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
		again, err := parseDuration(formatDuration(got))
		require.NoError(t, err)
		require.Equal(t, want, again)
	}
	for _, text := range []string{"", "-1s", "3 days", "1d", "99999999999999999999", "9223372037"} {
		_, err := parseDuration(text)
		require.Error(t, err, text)
	}
	require.Equal(t, "72h", formatDuration(72*time.Hour))
	require.Equal(t, "20m", formatDuration(20*time.Minute))
	require.Equal(t, "10s", formatDuration(10*time.Second))
}

func TestSyncIsAlwaysOrAnInterval(t *testing.T) {
	s, err := ParseSync("always")
	require.NoError(t, err)
	require.Equal(t, SyncAlways, s)
	s, err = ParseSync("1s")
	require.NoError(t, err)
	require.Equal(t, time.Second, s.Interval())
	require.Equal(t, "1s", s.String())
	for _, text := range []string{"", "0", "never", "-1s"} {
		_, err := ParseSync(text)
		require.Error(t, err, text)
	}
}

func TestNoWayOfPrintingShowsASecret(t *testing.T) {
	c, err := loadText(t, `
auth: {config: {users: [{username: u, secret_key: xyzzy}]}}
meta: {config: {password: xyzzy}}
store: {rocketmq: {access_key: a, secret_key: xyzzy, security_token: xyzzy}}
admin: {token: xyzzy-xyzzy-xyzzy}
`, nil, nil)
	require.NoError(t, err)

	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "config", c, "value", *c, "auth", c.Auth, "token", c.Admin.Token, "block", c.Auth.Config)
	}
	shown := []string{log.String(), c.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		shown = append(shown, fmt.Sprintf(verb, c), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.Auth), fmt.Sprintf(verb, c.Admin.Token))
	}
	data, err := json.Marshal(c)
	require.NoError(t, err)
	shown = append(shown, string(data))
	for _, s := range shown {
		require.NotContains(t, s, "xyzzy")
	}
}

func TestAShownConfigurationIsYAMLOfTheSameSchema(t *testing.T) {
	c := Default()
	c.Plugins.Checksums = map[string]string{"auth-hmac": "true"}
	c.Node.ID = "17"
	var text map[string]any
	require.NoError(t, unmarshalYAML(c.String(), &text))
	require.Contains(t, text, "listeners")
	require.Contains(t, c.String(), "max_packet_size: 1MiB")
	require.Contains(t, c.String(), "session_expiry_max: 72h")
	require.Contains(t, c.String(), `id: "17"`)
	require.Contains(t, c.String(), `auth-hmac: "true"`)
}
