// Package coordinator is the command's side of a migration: it moves the metadata of a cluster to another backend while the gateways run.
// Package migration describes the protocol, and why nothing is lost.
//
// Main function: Run.
package coordinator
