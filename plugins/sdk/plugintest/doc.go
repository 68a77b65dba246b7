// Package plugintest is the conformance kit of lmqgate's plugin contract (plugins/proto, docs/plugins.md): cases that a
// plugin in any language passes, or that say in one precise line which rule it breaks.
//
// In a test of a plugin written in Go:
//
//	func TestThePluginKeepsTheContract(t *testing.T) {
//		profile, err := plugintest.LoadProfile("plugintest.yaml")
//		require.NoError(t, err)
//		plugintest.RunAuth(t, plugintest.AuthPlugin(func() sdk.AuthPlugin { return newMyAuth() }), profile)
//	}
//
// AuthPlugin and MetaPlugin serve the implementation in the test's own process, where the race detector and the debugger
// see it; Executable runs the finished program as a gateway would, and tests its life as a process too. `lmqgate plugin
// test` runs the same cases on an executable.
//
// Run is the engine and knows nothing of package testing. A case (see case.go) talks to the plugin over gRPC as the gateway
// does, with the gateway's deadlines and size limit, and ends at its first failure. Cases share one active plugin, started
// anew where it has died, except those about its life, which start their own.
//
// The kit needs Unix: it signals processes.
package plugintest
