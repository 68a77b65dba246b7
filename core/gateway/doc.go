// Package gateway builds a node from its configuration. It defines the order in which the parts of a node start and stop.
//
// Start: plugins (a plugin that is missing or refuses its configuration ends the start) -> metadata -> store -> delivery, publishing and
// sessions -> listeners bound -> admin HTTP -> wait until metadata and store answer -> cluster -> sessions' background work -> clients
// accepted.
//
// Stop, in the opposite order, so that nothing is lost: no new connections -> sessions detached (progress committed, wills left to other
// nodes or the next start) -> cluster -> connections closed -> delivery -> publishing -> metadata -> store -> plugins -> admin HTTP.
//
// It is the only package that knows all the others. Only cmd may import it.
package gateway
