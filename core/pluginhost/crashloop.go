package pluginhost

import (
	"log/slog"
	"time"
)

// crashLoopAfter is how many exits and failed starts in rapid succession make a crash loop.
const crashLoopAfter = 5

// crashLoop detects a plugin that does not stay up. It sets the plugin's state and limits the log: one line reports the loop, and further
// lines appear only when the cause changes. The supervisor owns it.
type crashLoop struct {
	ends int
	said string
}

// ended records and logs an exit or a failed start, and returns the state of the plugin.
func (c *crashLoop) ended(log *slog.Logger, message string, why error, longest time.Duration) State {
	c.ends++
	news := why.Error() != c.said
	c.said = why.Error()
	switch {
	case c.ends == crashLoopAfter:
		log.Error("plugin does not stay up; it is tried again for ever, and this is not said again while the cause is the same",
			"error", why, "times", c.ends, "longest_pause", longest.String())
	case c.ends < crashLoopAfter || news:
		log.Error(message, "error", why)
	default:
		log.Debug(message, "error", why)
	}
	if c.looping() {
		return StateCrashLooping
	}
	return StateRestarting
}

func (c *crashLoop) looping() bool { return c.ends >= crashLoopAfter }

// runs logs that the plugin runs again; in a crash loop it logs nothing until the plugin has stayed up.
func (c *crashLoop) runs(log *slog.Logger, pid, restarts int) {
	if c.looping() {
		log.Debug("plugin runs again", "pid", pid, "restarts", restarts)
		return
	}
	log.Info("plugin runs again", "pid", pid, "restarts", restarts)
}

// stable records that the plugin has stayed up.
func (c *crashLoop) stable(log *slog.Logger) {
	if c.looping() {
		log.Info("plugin stays up again", "failures_before", c.ends)
	}
	*c = crashLoop{}
}
