package mqtt

import (
	"errors"
	"time"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/trace"
)

// Reporting on the life of a connection: log lines, metrics, and the entries of Recent.

// Reasons for the end of a connection besides the reason codes of a DISCONNECT that the gateway sent or would have sent.
const (
	endedByClient = "client disconnected"
	endedWithWill = "client disconnected, with its will"
	endedLost     = "connection lost"
)

// noteConnected reports that a client was admitted.
func (c *conn) noteConnected(sessionPresent bool) {
	c.connected = time.Now()
	c.srv.metrics.connects.Inc()
	c.srv.metrics.clients.WithLabelValues(c.listener, c.version.String()).Inc()
	c.srv.metrics.connectTime.Observe(c.connected.Sub(c.asked).Seconds())
	c.tracedWhy(trace.Connected, "")
	c.eventConnected(sessionPresent)
	c.log.Info("client connected", "client", c.clientID, "user", auth.Shown(c.principal.Username()), "remote", c.remote,
		"listener", c.listener, "version", c.version.String(), "session_present", sessionPresent)
}

// noteDisconnected reports that the connection of an admitted client is over. err is the error that ended its reader.
func (c *conn) noteDisconnected(err error) {
	reason, cause := c.whyEnded(err)
	c.srv.metrics.disconnects.WithLabelValues(reason).Inc()
	if !c.connected.IsZero() {
		c.srv.metrics.clients.WithLabelValues(c.listener, c.version.String()).Dec()
	}
	user := auth.Shown(c.principal.Username())
	c.srv.recent.add(Event{Time: time.Now(), Kind: "disconnected", ClientID: c.clientID, Username: user, RemoteAddr: c.remote,
		Reason: reason, Cause: cause})
	c.tracedWhy(trace.Disconnected, "", reason, cause)
	c.eventDisconnected(reason, cause)
	c.log.Info("client disconnected", "client", c.clientID, "user", user, "remote", c.remote, "listener", c.listener,
		"reason", reason, "cause", cause, "after", time.Since(c.connected).Round(time.Millisecond))
}

// noteRefused tells operators that CONNECT was refused.
func (c *conn) noteRefused(code packet.Code, reason string) {
	c.srv.metrics.refused.WithLabelValues(code.String()).Inc()
	c.srv.metrics.refusals.WithLabelValues("CONNECT", code.String()).Inc()
	c.tracedWhy(trace.Refused, "", code.String(), reason)
	c.srv.recent.add(Event{Time: time.Now(), Kind: "refused", ClientID: c.clientID, RemoteAddr: c.remote, Packet: "CONNECT",
		Reason: code.String(), Cause: reason})
}

// noteRefusal tells operators that a message, or a filter of SUBSCRIBE, was refused. A client that is refused all the time does not push
// the refusals of others out of Recent.
func (c *conn) noteRefusal(what packet.Type, name string, code packet.Code, cause string) {
	c.srv.metrics.refusals.WithLabelValues(what.String(), code.String()).Inc()
	now := time.Now()
	last := c.refusedAt.Load()
	if last != 0 && now.UnixNano()-last < int64(refusalPause) || !c.refusedAt.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	c.srv.refusals.add(Event{Time: now, Kind: "refused", ClientID: c.clientID, Username: auth.Shown(c.admitted.Load().Username()),
		RemoteAddr: c.remote, Packet: what.String(), Topic: name, Reason: code.String(), Cause: cause})
}

// whyEnded returns why the connection ended: a reason from a bounded set, and the cause in words.
func (c *conn) whyEnded(err error) (reason, cause string) {
	c.causeMu.Lock()
	defer c.causeMu.Unlock()
	switch {
	case c.cause != "":
		return c.closeCode.String(), c.cause
	case c.ending.Graceful:
		return endedByClient, ""
	case c.said:
		return endedWithWill, ""
	case err != nil && !errors.Is(err, errEnded):
		return endedLost, err.Error()
	default:
		return endedLost, ""
	}
}
