package mqtt

import "net"

// Attributed reports whether a connection that is not admitted yet, from a given end, is counted for the address in its PROXY protocol
// header. Its server has read the header then.
func (s *Server) Attributed(from net.Addr) bool {
	p := s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		if pl, _ := e.Value.(*place); pl.source.IsValid() && pl.nc.RemoteAddr().String() == from.String() {
			return true
		}
	}
	return false
}
