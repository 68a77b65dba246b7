// Package auth answers who may connect, publish and subscribe, over an auth plugin.
//
// Authority is what the rest of the gateway uses. New makes one over a plugin; Anonymous makes the one that lets everybody
// in. Authenticate admits a connection and gives it a Principal, which carries what the plugin said about the client and a
// bounded cache of decisions; Authorize answers from that cache without allocating, and asks the plugin for the rest.
//
// What it promises when the plugin cannot be reached: nobody new is admitted (Denied with the reason Unavailable); clients
// that are connected go on with decisions that were cached, for a bounded time past their expiry (StaleAllowance), and
// with nothing else. It fails closed, always.
//
// It never logs a password, never caches an admission, and never decides by itself.
package auth
