// Package sdk is what the author of an lmqgate plugin in Go imports, beside the generated messages of plugins/proto.
//
// A plugin is a program whose main is one call:
//
//	func main() { sdk.ServeAuth(&myAuth{}) }   // or sdk.ServeMeta(&myMeta{})
//
// Handshake, transport security, contract versions, health checks, logging in the form that the gateway merges into its
// own log, and leaving when the gateway goes away are the SDK's business. The author implements AuthPlugin or MetaPlugin.
//
// The life of a plugin, in order:
//
//	Info -> Configure (once) -> Activate -> calls of its kind, Health -> Deactivate
//
// Calls arrive from several goroutines at once. None arrives before Activate has returned, and none is under way when
// Deactivate is called; Deactivate may be followed by Activate again. A panic in a call is answered as an error and
// logged with its stack; it does not end the process.
//
// The SDK never imports the gateway's core.
package sdk
