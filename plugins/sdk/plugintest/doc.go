// Package plugintest is the conformance kit of lmqgate's plugin contract (plugins/proto, docs/plugins.md). A plugin in any language
// either passes its cases, or one precise line says which rule it breaks.
//
// In a test of a plugin written in Go:
//
//	func TestThePluginKeepsTheContract(t *testing.T) {
//		profile, err := plugintest.LoadProfile("plugintest.yaml")
//		require.NoError(t, err)
//		plugintest.RunAuth(t, plugintest.AuthPlugin(func() sdk.AuthPlugin { return newMyAuth() }), profile)
//	}
//
// AuthPlugin and MetaPlugin serve the implementation in the test's process, where the race detector and the debugger see it.
// Executable runs the finished program as a gateway would, and also tests it as a process. `lmqgate plugin test` runs the same
// cases on an executable.
//
// Run is the engine, and does not use package testing. A case (see case.go) calls the plugin over gRPC as the gateway does, with the
// gateway's size limit and deadlines (which PatienceVariable multiplies), and ends at its first failure. Cases share one active plugin,
// which is restarted if it dies. Cases about the life cycle start plugins of their own.
//
// The kit needs Unix, because it sends signals to processes.
package plugintest
