//go:build !linux

package systemd

import "time"

// monotonic is of no use here: only Linux has systemd.
func monotonic() time.Duration { return 0 }
