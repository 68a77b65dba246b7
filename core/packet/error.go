package packet

import "fmt"

// Error means that the peer violated the protocol. Every failure to decode is an *Error. After one, the position in the stream is unknown,
// so the connection can only be closed.
type Error struct {
	Code      Code    // the code to answer with, if an answer is possible: MalformedPacket, ProtocolError, PacketTooLarge, ...
	Reason    string  // what is wrong, with the packet's type and the value; no payload, no secret
	Statement string  // the normative statement that was violated, such as "MQTT-2.2.1-3"; "" if the text has no number
	Version   Version // the version in which to encode an answer; 0: the peer's version is unknown, close without an answer
}

// Error returns the code's name, the reason and the statement.
func (e *Error) Error() string {
	if e.Statement == "" {
		return fmt.Sprintf("%s (0x%02x): %s", e.Code, byte(e.Code), e.Reason)
	}
	return fmt.Sprintf("%s (0x%02x): %s [%s]", e.Code, byte(e.Code), e.Reason, e.Statement)
}

var _ error = (*Error)(nil)
