//go:build !linux

package systemd

import "time"

// monotonic is a stub: only Linux has systemd.
func monotonic() time.Duration { return 0 }
