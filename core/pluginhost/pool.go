package pluginhost

import pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"

// pool is a kind of calls with bounds of its own, so that one kind cannot hold up another: what strangers make the gateway ask must
// not cost connected clients their answers.
type pool int

const (
	// decisions are the calls about clients that are admitted already, and all calls of meta plugins.
	decisions pool = iota
	// logins are the calls that a stranger causes with a CONNECT.
	logins
	pools
)

// callsUnderWay bounds the calls of each pool to one plugin at a time; further ones wait within their deadline. Logins are few,
// because a plugin may take long for each: it checks a password by an expensive hash, or asks a web service.
var callsUnderWay = [pools]int{decisions: 256, logins: 128}

// poolOf says which pool a method belongs to.
func poolOf(method string) pool {
	switch method {
	case pluginv1.Auth_Authenticate_FullMethodName, pluginv1.Auth_Exchange_FullMethodName:
		return logins
	default:
		return decisions
	}
}

// breakers are one for each pool.
type breakers [pools]*breaker

func (p *Plugin) newBreakers() (b breakers) {
	for i := range b {
		b[i] = newBreaker(p.host.opts.timing.breakerOpen)
	}
	return b
}

// open says whether the calls of any pool are suspended.
func (b breakers) open() bool {
	for _, one := range b {
		if one.isOpen() {
			return true
		}
	}
	return false
}
