package mqtt

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
)

// Revoke closes the connections of clients that an auth plugin no longer admits: DISCONNECT with 0x98 (MQTT 5, 3.14.2.1), for
// nothing that the client does is refused; somebody has decided about it. A client that is just being admitted is refused.
func (s *Server) Revoke(r auth.Revocation) {
	s.revoked.add(r) // before the connections are looked at, see since
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

// revocations remembers the latest revocations for connections that were being admitted when one came: the plugin may have
// judged them before it revoked.
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

// now is a moment to ask since about.
func (r *revocations) now() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// since says whether a client was revoked since a moment before it was judged. What is not remembered any more counts as yes.
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
