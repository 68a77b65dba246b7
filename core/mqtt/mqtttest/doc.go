// Package mqtttest runs a gateway in the test's process and speaks MQTT packets to it.
//
// A Node is everything from the listeners (TCP and WebSocket) to a directory: sessions, delivery, publishing, the embedded store in a
// temporary directory, and metadata in memory. It can be stopped cleanly, and it can crash. Restart starts it again on the same
// directory and metadata. A Client is a socket and a packet codec: it sends what the test says, valid or not, and answers nothing
// by itself.
//
// Nothing here sleeps to synchronise. A test waits for what it expects, with a deadline (Patience). It looks for what must not happen
// behind a barrier if there is one (Client.Ping), else for a short time (Client.ExpectNothing).
//
// The package does not judge the protocol; the tests do.
package mqtttest
