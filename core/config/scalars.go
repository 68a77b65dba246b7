package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes. In files it is a plain number, or a number with
// one of the units B, KiB, MiB, GiB ("64KiB").
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads a size: "1MiB", "64KiB", "1048576".
func ParseSize(s string) (Size, error) {
	number, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%s is no size: write bytes, or a whole number with KiB, MiB or GiB, such as 1MiB", quote(s))
	}
	return Size(n * unit), nil
}

// String returns the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && u.bytes > 1 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// parseDuration parses a Go duration ("72h", "1m30s") or a bare whole number of seconds, the unit of MQTT; 0 needs no unit.
func parseDuration(s string) (time.Duration, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n <= int64(math.MaxInt64/time.Second) {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s is no duration: write a number with ms, s, m or h, such as 90s or 72h", quote(s))
	}
	return d, nil
}

// formatDuration formats a duration for parseDuration, without the zero units that time.Duration prints.
func formatDuration(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Sync says when the local store writes to disk: 0 means before each acknowledgement ("always"); any other value is the interval between
// two writes.
type Sync time.Duration

// SyncAlways writes before each acknowledgement.
const SyncAlways Sync = 0

// ParseSync reads "always" or an interval such as "1s".
func ParseSync(s string) (Sync, error) {
	if s == "always" {
		return SyncAlways, nil
	}
	d, err := parseDuration(s)
	if err != nil || d == 0 {
		return 0, fmt.Errorf("%s is neither always nor an interval such as 1s", quote(s))
	}
	return Sync(d), nil
}

// Interval returns the time between two writes; 0 for SyncAlways.
func (s Sync) Interval() time.Duration { return time.Duration(s) }

// String returns "always" or the interval.
func (s Sync) String() string {
	if s == SyncAlways {
		return "always"
	}
	return formatDuration(time.Duration(s))
}

// hidden replaces a secret wherever a configuration is shown.
const hidden = "[hidden]"

// Secret is a string that logs, formatting and JSON do not show. Reveal, or a
// conversion to string, gives the text.
type Secret string

// Reveal returns the secret's text.
func (s Secret) Reveal() string { return string(s) }

// String hides the secret; an empty one stays empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// PluginConfig is a plugin's own block. The gateway does not know which of its values are secret, so it shows only the keys.
type PluginConfig map[string]any

// String names the keys and hides the values.
func (p PluginConfig) String() string {
	return "{" + strings.Join(sortedKeys(p), " ") + "}"
}

// GoString hides the values from %#v.
func (p PluginConfig) GoString() string { return "config.PluginConfig" + p.String() }

// Format hides the values from every verb.
func (p PluginConfig) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(p.String())) }

// LogValue hides the values from slog.
func (p PluginConfig) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText hides the values from JSON and YAML.
func (p PluginConfig) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

var (
	_ fmt.Stringer   = Secret("")
	_ fmt.GoStringer = Secret("")
	_ slog.LogValuer = Secret("")
	_ fmt.Formatter  = PluginConfig(nil)
	_ slog.LogValuer = PluginConfig(nil)
)
