// Package mqtt is the protocol side of the gateway: listeners, connections, and the handling of packets of MQTT 3.1, 3.1.1 and
// 5.0. Before MQTT begins, a connection sheds the PROXY protocol header, TLS and the WebSocket that it comes in (listen.go).
//
// A connection has one goroutine that reads packets and acts on them in order, and, only while there is something to write, one
// that writes: packets are encoded into the connection's outbox and leave in as few writes as possible. Nothing but CONNECT is
// acted upon before the client was admitted. Acknowledgements leave in the order of the packets that they answer
// [MQTT-4.6.0-2], whatever the order in which the store confirms.
//
// Back-pressure: a client whose messages wait for the store is not read further, and a client that does not read its socket
// stops its session's pump at a bounded buffer.
//
// The package keeps no session state (see package session), stores nothing (see package publish), and has no opinion about who
// may do what (see package auth). Bytes are package packet's business.
//
// Locks, in order: conn.acks.mu, outbox.mu. Both are leaves under Session.mu.
package mqtt
