// Package handshake defines what a gateway and its plugins must agree on before the first call: the cookie that tells a plugin that a
// gateway started it, the versions of the contract, and the name under which the contract is served.
//
// It is a separate package so that the gateway's core can use it without importing the SDK.
package handshake

import "slices"

const (
	// CookieKey is an environment variable that the gateway sets for each plugin, to CookieValue. It is no secret and
	// protects nothing: without it a plugin knows that a person has started it, and says so instead of serving.
	CookieKey = "LMQGATE_PLUGIN"
	// CookieValue is the value of CookieKey.
	CookieValue = "b5d1f1c8-lmqgate-plugin-4f0a7a52c9d3"

	// PluginName is the name of the one entry in go-plugin's plugin set.
	PluginName = "lmqgate"
	// HealthService is the service name that grpc.health.v1 answers for.
	HealthService = "plugin"

	// MaxMessageBytes bounds one gRPC message in either direction.
	MaxMessageBytes = 16 << 20
)

// versions are the versions of plugins/proto that this tree speaks. A breaking change to the contract adds a version in front. The previous
// version stays for one more release, so that a plugin built for the previous release keeps working; see plugins/proto/COMPATIBILITY.md.
var versions = []int{1}

// Versions lists the supported versions of the contract, newest first.
func Versions() []int { return slices.Clone(versions) }
