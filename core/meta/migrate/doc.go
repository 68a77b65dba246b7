// Package migrate is the command's side of a migration: it moves the metadata of a cluster from one backend to another while its
// gateways run. Package migration says how the two sides agree and why nothing is lost.
//
// Main function: Run.
package migrate
