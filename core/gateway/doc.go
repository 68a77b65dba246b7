// Package gateway builds a node from its configuration, and knows the order in which its parts start and stop.
//
// Start: plugins (a plugin that is missing or refuses its configuration ends the start) -> metadata -> store -> delivery,
// publishing and sessions -> listeners bound -> admin HTTP -> wait until metadata and store answer -> sessions' background
// work -> clients accepted.
//
// Stop, in the opposite order, so that nothing is lost: no new connections -> sessions detached (progress committed, wills
// handed over) -> connections closed -> delivery -> publishing -> store -> metadata -> plugins -> admin HTTP.
//
// It is the only package that knows every other one; nothing else may import it but cmd.
package gateway
