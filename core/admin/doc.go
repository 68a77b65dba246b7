// Package admin is the HTTP side of a node: health, metrics and the API under /api/v1 that the command line uses. The types of an
// operation's input and output are its description: requests are checked by them, and /api/v1/openapi.json is made of them.
//
// /api/ always needs the token; /metrics where that is configured. /healthz, /readyz and, else, /metrics are for whoever reaches the
// address, so that probes and scrapers need no secret. Where that is loopback, requests that a browser was tricked into are refused: a
// foreign Origin, or, without the token, a host name that is not the loopback's (DNS rebinding).
package admin
