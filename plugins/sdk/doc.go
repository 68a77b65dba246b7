// Package sdk is what the author of an lmqgate plugin in Go imports, together with the generated messages of plugins/proto.
//
// A plugin is a program whose main is one call:
//
//	func main() { sdk.ServeAuth(&myAuth{}) }   // or sdk.ServeMeta(&myMeta{})
//
// The author implements AuthPlugin or MetaPlugin. The SDK handles the handshake, transport security, contract versions and health
// checks. It writes logs in the form that the gateway merges into its own log, and exits when the gateway is gone.
//
// The life of a plugin, in order:
//
//	Info -> Configure (once) -> Activate -> calls of its kind, Health -> Deactivate
//
// Calls arrive concurrently. None arrives before Activate has returned, and none is in progress when Deactivate is called. Activate may
// follow Deactivate again. A panic in a call is answered as an error and logged with its stack; the process continues.
//
// The SDK never imports the gateway's core.
package sdk
