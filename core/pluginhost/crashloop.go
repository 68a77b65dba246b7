package pluginhost

import (
	"log/slog"
	"time"
)

// crashLoopAfter is how many ends and failed starts in a row, each soon after the one before, make a crash loop.
const crashLoopAfter = 5

// crashLoop recognises a plugin that does not stay up, so that its state says so and the log is not filled: one line says that
// it loops, and further ones come only when the cause changes. The supervisor owns it.
type crashLoop struct {
	ends int
	said string
}

// ended notes an end or a start that failed, says it, and answers the state that the plugin is in.
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

// runs says that the plugin runs again; in a crash loop that is no news until it has stayed up.
func (c *crashLoop) runs(log *slog.Logger, pid, restarts int) {
	if c.looping() {
		log.Debug("plugin runs again", "pid", pid, "restarts", restarts)
		return
	}
	log.Info("plugin runs again", "pid", pid, "restarts", restarts)
}

// stable notes that the plugin has stayed up.
func (c *crashLoop) stable(log *slog.Logger) {
	if c.looping() {
		log.Info("plugin stays up again", "failures_before", c.ends)
	}
	*c = crashLoop{}
}
