// Package mqtttest is for tests that speak MQTT packets to a gateway in the same process.
//
// A Node is everything between a socket and a directory: listeners (TCP and WebSocket), sessions, delivery, publishing, the
// embedded store in a temporary directory, and metadata over a backend in memory. It can be stopped in good order and it can
// crash; either way Restart brings it back on the same directory and the same metadata. A Client is a socket and a packet
// codec: it sends what the test says, right or wrong, and answers nothing by itself.
//
// Nothing here sleeps: what is expected is waited for with a deadline (Patience), and what must not happen is looked for
// behind a barrier where there is one (Client.Ping), else for a short while (Client.ExpectNothing).
//
// The package never judges the protocol: what is right is the tests' business.
package mqtttest
