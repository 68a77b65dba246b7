// Package handshake holds what a gateway and its plugins must agree on before they can speak: the cookie that tells a
// plugin that a gateway started it, the versions of the contract, and the name under which the contract is served.
//
// It is a package of its own so that the gateway's core can use it without importing anything of the SDK.
package handshake

const (
	// CookieKey is an environment variable that the gateway sets for each plugin, to CookieValue. It is no secret and
	// protects nothing: without it a plugin knows that a person has started it, and says so instead of serving.
	CookieKey = "LMQGATE_PLUGIN"
	// CookieValue is the value of CookieKey.
	CookieValue = "b5d1f1c8-lmqgate-plugin-4f0a7a52c9d3"

	// Version is the version of plugins/proto that this tree speaks. A breaking change to the contract adds one.
	Version = 1
	// OldestVersion is the oldest version that is still served and still accepted: Version-1 once there is one, so that a
	// plugin built for the release before goes on working.
	OldestVersion = 1

	// PluginName is the name of the one entry in go-plugin's plugin set.
	PluginName = "lmqgate"
	// HealthService is the service name that grpc.health.v1 answers for.
	HealthService = "plugin"

	// MaxMessageBytes bounds one gRPC message in either direction.
	MaxMessageBytes = 16 << 20
)

// Versions lists the versions from the newest to the oldest.
func Versions() []int {
	var all []int
	for v := Version; v >= OldestVersion; v-- {
		all = append(all, v)
	}
	return all
}
