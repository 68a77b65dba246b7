// Package abuse runs a gateway as a process under the attacks of hostile clients: its tests apply the loads of docs/security.md at a
// relevant size. During each load honest clients publish and receive messages. The gateway must lose none of these messages, admit new
// honest clients, and stay within its memory limit.
//
// By default `go test ./test/abuse` runs all loads at once, small and for a few seconds. `make abuse` (LMQGATE_ABUSE=full) runs each load
// separately at full size, then all together, and also requires that the latency stays below ten times the latency at rest. Everything runs
// on loopback, is bounded in time, and is stopped by process id.
package abuse
