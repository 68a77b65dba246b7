// Package websocket makes a stream of bytes of a WebSocket, for MQTT (MQTT 5.0, section 6): the payloads of the binary frames that arrive,
// and one binary frame for each write.
//
// A connection costs no buffer and no goroutine while nothing arrives. Frames without data, which no limit of MQTT counts, are bounded. The
// handshake and the form of frames (RFC 6455) are gobwas/ws's. Main type: [Conn].
package websocket
