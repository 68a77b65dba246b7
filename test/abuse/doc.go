// Package abuse runs a gateway as a process and does to it what hostile clients do: its tests are the loads of docs/security.md at a
// size that counts. Beside each load honest clients publish and are sent messages; the gateway must lose none of theirs, take new
// honest clients, and stay within its memory.
//
// By itself `go test ./test/abuse` runs all loads at once, small and for a few seconds. `make abuse` (LMQGATE_ABUSE=full) runs each
// by itself at full size, then all together, and also holds the gateway to ten times the latency that it has at rest. Everything is on
// loopback, bounded in time, and stopped by process id.
package abuse
