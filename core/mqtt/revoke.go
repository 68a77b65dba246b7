package mqtt

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Revoke closes the connections of clients that an auth plugin no longer admits. They get DISCONNECT with 0x98, Administrative action (MQTT
// 5, 3.14.2.1): no request of the client is refused, somebody has decided about the client. A client that is just being admitted is
// refused.
func (s *Server) Revoke(r auth.Revocation) {
	s.revoked.add(r) // before looking at the connections; see since
	s.mu.Lock()
	var hit []*conn
	for c := range s.conns {
		if p := c.admitted.Load(); p != nil && p.Matches(r) {
			hit = append(hit, c)
		}
	}
	s.mu.Unlock()
	for _, c := range hit {
		c.Close(packet.AdministrativeAction, "the client's admission was revoked")
	}
}

// revocations remembers the latest revocations, for connections that are being admitted when one arrives: the plugin may have decided about
// them before it revoked.
type revocations struct {
	mu    sync.Mutex
	count uint64
	last  [64]auth.Revocation
}

func (r *revocations) add(rev auth.Revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last[r.count%uint64(len(r.last))] = rev
	r.count++
}

// now returns the present moment, as an argument for since.
func (r *revocations) now() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// since reports whether a client was revoked since a moment before it was authenticated. If too many revocations have come since, it
// returns true.
func (r *revocations) since(moment uint64, p *auth.Principal) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count-moment > uint64(len(r.last)) {
		return true
	}
	for n := moment; n < r.count; n++ {
		if p.Matches(r.last[n%uint64(len(r.last))]) {
			return true
		}
	}
	return false
}
