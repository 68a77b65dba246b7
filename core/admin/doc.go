// Package admin is the HTTP side of a node: health, metrics and the API under /api/v1 that the command line uses.
//
// /healthz, /readyz and /metrics are open to whoever reaches the address; /api/ needs the token where one is configured.
// Without one (allowed on loopback only) requests that a browser sends on behalf of a foreign page are refused.
package admin
