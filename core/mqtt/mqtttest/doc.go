// Package mqtttest runs a gateway in the test's process and exchanges MQTT packets with it.
//
// A Node is a whole gateway, from the listeners (TCP and WebSocket) down to a directory: sessions, delivery, publishing, the embedded store
// in a temporary directory, and metadata in memory. It can stop cleanly and it can crash. Restart starts it again on the same directory and
// metadata. A Client is a socket and a packet codec: it sends what the test says, valid or not, and answers nothing by itself.
//
// Nothing here sleeps to synchronise. A test waits, up to a deadline (Patience), for what it expects. To check that something does not
// happen, it sends a barrier if there is one (Client.Ping) and looks at what came before its answer; otherwise it looks for a short time
// (Client.ExpectNothing).
//
// The package does not judge the protocol; the tests do.
package mqtttest
