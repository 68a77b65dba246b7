// Package auth decides who may connect, publish and subscribe, by asking an auth plugin.
//
// Authority is what the rest of the gateway uses. New returns an Authority over a plugin; Anonymous returns one that admits everybody.
// Authenticate admits a connection and gives it a Principal, which carries what the plugin said about the client and a bounded cache of
// decisions. Authorize answers from that cache without allocating, and asks the plugin otherwise.
//
// While the plugin cannot be reached, nobody new is admitted (Denied with the reason Unavailable). Connected clients continue with cached
// decisions, which stay usable for a bounded time past their expiry (StaleAllowance). Everything else is refused: the package always fails
// closed.
//
// It never logs a password, never caches an admission, and never makes a decision of its own.
package auth
