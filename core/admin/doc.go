// Package admin is the HTTP side of a node: health, metrics and the API under /api/v1 that the command line uses. The types of an
// operation's input and output are its description: requests are validated against them, and /api/v1/openapi.json is generated from them.
//
// /api/ always requires the token; /metrics requires it if so configured. /healthz, /readyz and otherwise /metrics are open, so that probes
// and scrapers need no secret. On a loopback address the server refuses requests that a browser was tricked into: those with a foreign
// Origin and, without the token, those with a host name other than loopback's (DNS rebinding).
package admin
