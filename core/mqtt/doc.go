// Package mqtt is the protocol side of the gateway: listeners, connections, and the handling of packets of MQTT 3.1, 3.1.1 and 5.0. Before
// MQTT begins, a connection sheds its outer layers: the PROXY protocol header, TLS and the WebSocket (listen.go).
//
// A connection has one goroutine that reads packets and acts on them in order. While there is something to write, it has a second one that
// writes: packets are encoded into the connection's outbox and leave in as few writes as possible. No packet but CONNECT is acted upon
// before the client is admitted. Acknowledgements leave in the order of the packets that they answer [MQTT-4.6.0-2], whatever the order in
// which the store confirms.
//
// Back-pressure: a client is not read while too many of its messages wait for the store, and a client that does not read its socket stops
// its session's pump at a bounded buffer.
//
// The package keeps no session state (see package session), stores nothing (see package publish), and does not decide who may do what (see
// package auth). Encoding and decoding packets is up to package packet.
//
// Lock order: Session.mu, then conn.acks.mu, then outbox.mu.
package mqtt
