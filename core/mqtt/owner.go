package mqtt

import (
	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/session"
)

// ownerOf returns the owner of an admitted client's sessions.
func ownerOf(p *auth.Principal) meta.Owner { return meta.Owner{Name: p.Name(), Plugin: p.AdmittedBy()} }

// refusedForOther logs that a client wanted the session of another identity.
func (c *conn) refusedForOther(other *session.Other) {
	c.log.Warn("client refused: its client id has a session of another identity", "client", c.clientID, "user", auth.Shown(c.principal.Username()),
		"identity", c.principal.Name(), "remote", c.remote, "owner", other.Owner.Name, "owner_plugin", other.Owner.Plugin)
}
