package pluginhost

import pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"

// pool is a kind of calls with its own bounds, so that one kind cannot starve another: calls that unauthenticated clients cause must not
// delay answers for connected clients.
type pool int

const (
	// decisions are the calls about admitted clients, and all calls of meta plugins.
	decisions pool = iota
	// logins are the calls that an unauthenticated client causes with a CONNECT.
	logins
	pools
)

// callsUnderWay bounds the concurrent calls of each pool to one plugin; further calls wait within their deadline. Logins have fewer slots,
// because each may take a plugin long: it computes an expensive password hash, or calls a web service.
var callsUnderWay = [pools]int{decisions: 256, logins: 128}

// poolOf returns the pool of a method.
func poolOf(method string) pool {
	switch method {
	case pluginv1.Auth_Authenticate_FullMethodName, pluginv1.Auth_AuthenticateAll_FullMethodName, pluginv1.Auth_Exchange_FullMethodName:
		return logins
	default:
		return decisions
	}
}

// breakers holds a circuit breaker for each pool.
type breakers [pools]*breaker

func (p *Plugin) newBreakers() (b breakers) {
	for i := range b {
		b[i] = newBreaker(p.host.opts.timing.breakerOpen)
	}
	return b
}

// open reports whether the calls of any pool are suspended.
func (b breakers) open() bool {
	for _, one := range b {
		if one.isOpen() {
			return true
		}
	}
	return false
}
