package packet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire builds a packet from its first byte and body, with the right remaining length.
func wire(first byte, body ...any) []byte {
	b := join(body...)
	return append(appendVarint([]byte{first}, uint32(len(b))), b...)
}

// join puts bytes (int), raw strings and byte slices behind one another.
func join(parts ...any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		case text:
			b = appendText(b, string(p))
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return b
}

// text is a string with its length in front.
type text string

// block is a property block with its length in front.
func block(parts ...any) []byte {
	b := join(parts...)
	return append(appendVarint(nil, uint32(len(b))), b...)
}

func connectWire(v Version, flags int, rest ...any) []byte {
	return wire(0x10, text(protocolName(v)), int(v), flags, 0, 60, join(rest...))
}

type refusal struct {
	name      string
	v         Version
	bytes     []byte
	code      Code
	statement string
	client    bool
}

var refusals = []refusal{
	{"packet type 0", V311, wire(0x00), MalformedPacket, "MQTT-4.8.0-1", false},
	{"AUTH in 3.1.1", V311, wire(0xf0), ProtocolError, "MQTT-4.8.0-1", false},
	{"CONNACK from a client", V311, wire(0x20, 0, 0), ProtocolError, "MQTT-4.8.0-1", false},
	{"SUBACK from a client", V5, wire(0x90, 0, 1, 0, 0), ProtocolError, "MQTT-4.13.1-1", false},
	{"UNSUBACK from a client", V5, wire(0xb0, 0, 1, 0, 0), ProtocolError, "MQTT-4.13.1-1", false},
	{"PINGRESP from a client", V5, wire(0xd0), ProtocolError, "MQTT-4.13.1-1", false},
	{"SUBSCRIBE from a server", V5, wire(0x82, 0, 1, 0, text("a"), 0), ProtocolError, "MQTT-4.13.1-1", true},
	{"DISCONNECT from a 3.1.1 server", V311, wire(0xe0), ProtocolError, "MQTT-4.8.0-1", true},
	{"remaining length of 5 bytes", V5, []byte{0xc0, 0x80, 0x80, 0x80, 0x80, 1}, MalformedPacket, "MQTT-1.5.5-1", false},
	{"remaining length of 5 bytes in 3.1.1", V311, []byte{0xc0, 0x80, 0x80, 0x80, 0x80, 1}, MalformedPacket, "", false},
	{"padded remaining length in 5", V5, []byte{0xc0, 0x80, 0}, MalformedPacket, "MQTT-1.5.5-1", false},

	{"CONNECT flags", 0, wire(0x11, "x"), MalformedPacket, "MQTT-2.2.2-2", false},
	{"PUBACK flags", V5, wire(0x42, 0, 1), MalformedPacket, "MQTT-2.1.3-1", false},
	{"PUBREL flags", V5, wire(0x60, 0, 1), MalformedPacket, "MQTT-3.6.1-1", false},
	{"SUBSCRIBE flags", V311, wire(0x80, 0, 1, text("a"), 0), MalformedPacket, "MQTT-3.8.1-1", false},
	{"SUBSCRIBE with DUP in 3.1.1", V311, wire(0x8a, 0, 1, text("a"), 0), MalformedPacket, "MQTT-3.8.1-1", false},
	{"UNSUBSCRIBE flags", V311, wire(0xa0, 0, 1, text("a")), MalformedPacket, "MQTT-3.10.1-1", false},
	{"PINGREQ flags", V311, wire(0xc1), MalformedPacket, "MQTT-2.2.2-2", false},
	{"DISCONNECT flags", V5, wire(0xe1), MalformedPacket, "MQTT-3.14.1-1", false},
	{"AUTH flags", V5, wire(0xf1), MalformedPacket, "MQTT-3.15.1-1", false},

	{"first packet is PUBLISH", 0, wire(0x30, text("t")), ProtocolError, "MQTT-3.1.0-1", false},
	{"first packet is HTTP", 0, []byte("GET / HTTP/1.1\r\n\r\n"), ProtocolError, "MQTT-3.1.0-1", false},
	{"unknown protocol name", 0, wire(0x10, text("HTTP"), 4, 2, 0, 0, text("c")), UnsupportedProtocolVersion, "MQTT-3.1.2-1", false},
	{"protocol level 6", 0, wire(0x10, text("MQTT"), 6, 2, 0, 0, 0, text("c")), UnsupportedProtocolVersion, "MQTT-3.1.2-2", false},
	{"protocol level 3 under the new name", 0, wire(0x10, text("MQTT"), 3, 2, 0, 0, text("c")), UnsupportedProtocolVersion, "MQTT-3.1.2-2", false},
	{"a bridge's level", 0, wire(0x10, text("MQTT"), 0x84, 2, 0, 0, text("c")), UnsupportedProtocolVersion, "MQTT-3.1.2-2", false},
	{"protocol name of other case", 0, wire(0x10, text("mqtt"), 4, 2, 0, 0, text("c")), UnsupportedProtocolVersion, "MQTT-3.1.2-1", false},
	{"empty CONNECT", 0, wire(0x10), MalformedPacket, "MQTT-3.1.4-1", false},
	{"reserved connect flag", 0, connectWire(V311, 0x03, text("c")), MalformedPacket, "MQTT-3.1.2-3", false},
	{"reserved connect flag in 5", 0, connectWire(V5, 0x03, 0, text("c")), MalformedPacket, "MQTT-3.1.2-3", false},
	{"will QoS without will in 3.1.1", 0, connectWire(V311, 0x0a, text("c")), ProtocolError, "MQTT-3.1.2-13", false},
	{"will QoS without will in 5", 0, connectWire(V5, 0x0a, 0, text("c")), ProtocolError, "MQTT-3.1.2-11", false},
	{"will retain without will in 3.1.1", 0, connectWire(V311, 0x22, text("c")), ProtocolError, "MQTT-3.1.2-15", false},
	{"will retain without will in 5", 0, connectWire(V5, 0x22, 0, text("c")), ProtocolError, "MQTT-3.1.2-13", false},
	{"will QoS 3", 0, connectWire(V311, 0x1e, text("c"), text("w"), text("x")), MalformedPacket, "MQTT-3.1.2-14", false},
	{"will QoS 3 in 5", 0, connectWire(V5, 0x1e, 0, text("c"), 0, text("w"), text("x")), MalformedPacket, "MQTT-3.1.2-12", false},
	{"password without user name in 3.1.1", 0, connectWire(V311, 0x42, text("c"), text("p")), ProtocolError, "MQTT-3.1.2-22", false},
	{"password without user name in 3.1", 0, connectWire(V31, 0x42, text("c"), text("p")), ProtocolError, "MQTT-3.1.2-22", false},
	{"no user name behind the flag", 0, connectWire(V311, 0x82, text("c")), MalformedPacket, "MQTT-3.1.4-1", false},
	{"no password behind the flag", 0, connectWire(V5, 0xc2, 0, text("c"), text("u")), MalformedPacket, "MQTT-3.1.4-1", false},
	{"no will behind the flag", 0, connectWire(V311, 0x06, text("c")), MalformedPacket, "MQTT-3.1.4-1", false},
	{"bytes behind CONNECT", 0, connectWire(V311, 0x02, text("c"), 0), MalformedPacket, "MQTT-3.1.4-1", false},
	{"client identifier not UTF-8", 0, connectWire(V311, 0x02, text("\xff")), MalformedPacket, "MQTT-1.5.3-1", false},
	{"client identifier with a surrogate", 0, connectWire(V5, 0x02, 0, text("\xed\xa0\x80")), MalformedPacket, "MQTT-1.5.4-1", false},
	{"client identifier with U+0000", 0, connectWire(V5, 0x02, 0, text("a\x00")), MalformedPacket, "MQTT-1.5.4-2", false},
	{"user name with U+0000", 0, connectWire(V311, 0x82, text("c"), text("\x00")), MalformedPacket, "MQTT-1.5.3-2", false},
	{"overlong UTF-8", 0, connectWire(V311, 0x02, text("\xc0\xaf")), MalformedPacket, "MQTT-1.5.3-1", false},
	{"will topic with wildcard", 0, connectWire(V311, 0x06, text("c"), text("a/#"), text("")), TopicNameInvalid, "MQTT-4.7.1-1", false},
	{"empty will topic", 0, connectWire(V5, 0x06, 0, text("c"), 0, text(""), text("")), ProtocolError, "MQTT-4.7.3-1", false},
	{"padded remaining length of CONNECT in 5", 0, append([]byte{0x10, 0x8e, 0}, connectWire(V5, 2, 0, text("c"))[2:]...), MalformedPacket, "MQTT-1.5.5-1", false},
	{"publish property in CONNECT", 0, connectWire(V5, 2, block(idTopicAlias, 0, 1), text("c")), MalformedPacket, "MQTT-4.13.1-1", false},
	{"will property in CONNECT", 0, connectWire(V5, 2, block(idWillDelayInterval, 0, 0, 0, 1), text("c")), MalformedPacket, "MQTT-4.13.1-1", false},
	{"receive maximum 0", 0, connectWire(V5, 2, block(idReceiveMaximum, 0, 0), text("c")), ProtocolError, "MQTT-4.13.1-1", false},
	{"maximum packet size 0", 0, connectWire(V5, 2, block(idMaximumPacketSize, 0, 0, 0, 0), text("c")), ProtocolError, "MQTT-4.13.1-1", false},
	{"request problem information 2", 0, connectWire(V5, 2, block(idRequestProblemInformation, 2), text("c")), ProtocolError, "MQTT-4.13.1-1", false},
	{"request response information 2", 0, connectWire(V5, 2, block(idRequestResponseInformation, 2), text("c")), ProtocolError, "MQTT-4.13.1-1", false},
	{"authentication data without method", 0, connectWire(V5, 2, block(idAuthenticationData, text("x")), text("c")), ProtocolError, "MQTT-4.13.1-1", false},
	{"half a session expiry", 0, connectWire(V5, 2, block(idSessionExpiryInterval, 0, 0, 0)), MalformedPacket, "MQTT-3.1.4-1", false},
	{"session expiry twice", 0, connectWire(V5, 2, block(idSessionExpiryInterval, 0, 0, 0, 1, idSessionExpiryInterval, 0, 0, 0, 1), text("c")), ProtocolError, "MQTT-4.13.1-1", false},

	{"unknown property", V5, wire(0x30, text("t"), block(0x7f, 1)), MalformedPacket, "MQTT-4.13.1-1", false},
	{"property 0", V5, wire(0x30, text("t"), block(0, 1)), MalformedPacket, "MQTT-4.13.1-1", false},
	{"padded property identifier", V5, wire(0x30, text("t"), block(0x81, 0, 1)), MalformedPacket, "MQTT-1.5.5-1", false},
	{"padded property length", V5, wire(0x30, text("t"), 0x80, 0), MalformedPacket, "MQTT-1.5.5-1", false},
	{"property length of 5 bytes", V5, wire(0x30, text("t"), 0x80, 0x80, 0x80, 0x80, 0), MalformedPacket, "MQTT-1.5.5-1", false},
	{"properties longer than the packet", V5, wire(0x30, text("t"), 100, idPayloadFormat, 1), MalformedPacket, "MQTT-4.13.1-1", false},
	{"property value longer than the properties", V5, wire(0x30, text("t"), 1, idUserProperty, text("k"), text("v")), MalformedPacket, "MQTT-4.13.1-1", false},
	{"no property length", V5, wire(0x30, text("t")), MalformedPacket, "MQTT-4.13.1-1", false},
	{"user property without value", V5, wire(0x30, text("t"), block(idUserProperty, text("k"))), MalformedPacket, "MQTT-4.13.1-1", false},
	{"payload format 2", V5, wire(0x30, text("t"), block(idPayloadFormat, 2)), ProtocolError, "MQTT-4.13.1-1", false},
	{"content type twice", V5, wire(0x30, text("t"), block(idContentType, text("a"), idContentType, text("a"))), ProtocolError, "MQTT-4.13.1-1", false},
	{"topic alias twice", V5, wire(0x30, text("t"), block(idTopicAlias, 0, 1, idTopicAlias, 0, 1)), ProtocolError, "MQTT-4.13.1-1", false},
	{"response topic with wildcard", V5, wire(0x30, text("t"), block(idResponseTopic, text("a/+"))), ProtocolError, "MQTT-3.3.2-14", false},
	{"empty response topic", V5, wire(0x30, text("t"), block(idResponseTopic, text(""))), ProtocolError, "MQTT-4.7.3-1", false},
	{"response topic not UTF-8", V5, wire(0x30, text("t"), block(idResponseTopic, text("\xff"))), MalformedPacket, "MQTT-1.5.4-1", false},
	{"subscription identifier from a client", V5, wire(0x30, text("t"), block(idSubscriptionIdentifier, 1)), ProtocolError, "MQTT-3.3.4-6", false},
	{"subscription identifier 0 from a server", V5, wire(0x30, text("t"), block(idSubscriptionIdentifier, 0)), ProtocolError, "MQTT-4.13.1-1", true},

	{"PUBLISH QoS 3", V311, wire(0x36, text("t"), 0, 1), MalformedPacket, "MQTT-3.3.1-4", false},
	{"DUP with QoS 0", V311, wire(0x38, text("t")), MalformedPacket, "MQTT-3.3.1-2", false},
	{"empty PUBLISH", V311, wire(0x30), MalformedPacket, "MQTT-4.8.0-1", false},
	{"topic longer than the packet", V311, wire(0x30, 0, 9, "abc"), MalformedPacket, "MQTT-4.8.0-1", false},
	{"PUBLISH without packet identifier", V311, wire(0x32, text("t"), 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"PUBLISH with packet identifier 0", V311, wire(0x32, text("t"), 0, 0), ProtocolError, "MQTT-2.3.1-1", false},
	{"PUBLISH with packet identifier 0 in 5", V5, wire(0x32, text("t"), 0, 0, 0), ProtocolError, "MQTT-2.2.1-3", false},
	{"PUBLISH with packet identifier 0 from a server", V5, wire(0x32, text("t"), 0, 0, 0), ProtocolError, "MQTT-2.2.1-4", true},
	{"topic with wildcard", V311, wire(0x30, text("a/+")), TopicNameInvalid, "MQTT-3.3.2-2", false},
	{"topic with # in 5", V5, wire(0x30, text("#"), 0), TopicNameInvalid, "MQTT-3.3.2-2", false},
	{"empty topic", V311, wire(0x30, text("")), ProtocolError, "MQTT-4.7.3-1", false},
	{"empty topic without alias", V5, wire(0x30, text(""), 0), ProtocolError, "MQTT-4.7.3-1", false},
	{"topic not UTF-8", V311, wire(0x30, text("a\xff")), MalformedPacket, "MQTT-1.5.3-1", false},
	{"topic with U+0000", V5, wire(0x30, text("a\x00"), 0), MalformedPacket, "MQTT-1.5.4-2", false},

	{"PUBACK truncated", V311, wire(0x40, 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"PUBACK with packet identifier 0", V311, wire(0x40, 0, 0), ProtocolError, "MQTT-2.3.1-6", false},
	{"PUBREL with packet identifier 0", V5, wire(0x62, 0, 0), ProtocolError, "MQTT-2.2.1-5", false},
	{"PUBACK of 3.1.1 with a code", V311, wire(0x40, 0, 1, 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"PUBACK code", V5, wire(0x40, 0, 1, 0x92), ProtocolError, "MQTT-3.4.2-1", false},
	{"PUBREC code", V5, wire(0x50, 0, 1, 0x01), ProtocolError, "MQTT-3.5.2-1", false},
	{"PUBREL code", V5, wire(0x62, 0, 1, 0x80), ProtocolError, "MQTT-3.6.2-1", false},
	{"PUBCOMP code", V5, wire(0x70, 0, 1, 0xff), ProtocolError, "MQTT-3.7.2-1", false},
	{"bytes behind PUBACK", V5, wire(0x40, 0, 1, 0, 0, 0), MalformedPacket, "MQTT-4.13.1-1", false},
	{"reason string twice", V5, wire(0x40, 0, 1, 0, block(idReasonString, text("a"), idReasonString, text("b"))), ProtocolError, "MQTT-4.13.1-1", false},

	{"SUBSCRIBE without filters", V311, wire(0x82, 0, 1), ProtocolError, "MQTT-3.8.3-3", false},
	{"SUBSCRIBE without filters in 5", V5, wire(0x82, 0, 1, 0), ProtocolError, "MQTT-3.8.3-2", false},
	{"SUBSCRIBE with packet identifier 0", V5, wire(0x82, 0, 0, 0, text("a"), 0), ProtocolError, "MQTT-2.2.1-3", false},
	{"SUBSCRIBE without options", V5, wire(0x82, 0, 1, 0, text("a")), MalformedPacket, "MQTT-4.13.1-1", false},
	{"SUBSCRIBE with half a filter", V311, wire(0x82, 0, 1, text("a"), 0, 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"SUBSCRIBE QoS 3", V311, wire(0x82, 0, 1, text("a"), 3), MalformedPacket, "MQTT-3.8.3-4", false},
	{"SUBSCRIBE QoS 3 in 5", V5, wire(0x82, 0, 1, 0, text("a"), 3), ProtocolError, "MQTT-4.13.1-1", false},
	{"SUBSCRIBE reserved bits", V311, wire(0x82, 0, 1, text("a"), 4), MalformedPacket, "MQTT-3.8.3-4", false},
	{"SUBSCRIBE reserved bits in 5", V5, wire(0x82, 0, 1, 0, text("a"), 0x40), MalformedPacket, "MQTT-3.8.3-5", false},
	{"retain handling 3", V5, wire(0x82, 0, 1, 0, text("a"), 0x30), ProtocolError, "MQTT-4.13.1-1", false},
	{"subscription identifier 0", V5, wire(0x82, 0, 1, block(idSubscriptionIdentifier, 0), text("a"), 0), ProtocolError, "MQTT-4.13.1-1", false},
	{"subscription identifier twice", V5, wire(0x82, 0, 1, block(idSubscriptionIdentifier, 1, idSubscriptionIdentifier, 2), text("a"), 0), ProtocolError, "MQTT-4.13.1-1", false},
	{"subscription identifier too large", V5, wire(0x82, 0, 1, block(idSubscriptionIdentifier, 0xff, 0xff, 0xff, 0xff, 1), text("a"), 0), MalformedPacket, "MQTT-1.5.5-1", false},
	{"filter not UTF-8", V311, wire(0x82, 0, 1, text("\xff"), 0), MalformedPacket, "MQTT-1.5.3-1", false},
	{"UNSUBSCRIBE without filters", V311, wire(0xa2, 0, 1), ProtocolError, "MQTT-3.10.3-2", false},
	{"UNSUBSCRIBE without filters in 5", V5, wire(0xa2, 0, 1, 0), ProtocolError, "MQTT-3.10.3-2", false},
	{"UNSUBSCRIBE with packet identifier 0", V311, wire(0xa2, 0, 0, text("a")), ProtocolError, "MQTT-2.3.1-1", false},
	{"subscription identifier in UNSUBSCRIBE", V5, wire(0xa2, 0, 1, block(idSubscriptionIdentifier, 1), text("a")), MalformedPacket, "MQTT-4.13.1-1", false},

	{"bytes behind PINGREQ", V311, wire(0xc0, 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"bytes behind DISCONNECT", V311, wire(0xe0, 0), MalformedPacket, "MQTT-4.8.0-1", false},
	{"DISCONNECT code that only servers send", V5, wire(0xe0, 0x8e), ProtocolError, "MQTT-3.14.2-1", false},
	{"DISCONNECT with will from a server", V5, wire(0xe0, 4), ProtocolError, "MQTT-3.14.2-1", true},
	{"session expiry from a server", V5, wire(0xe0, 0x81, block(idSessionExpiryInterval, 0, 0, 0, 1)), ProtocolError, "MQTT-3.14.2-2", true},
	{"bytes behind DISCONNECT's properties", V5, wire(0xe0, 0, 0, 0), MalformedPacket, "MQTT-4.13.1-1", false},
	{"empty AUTH from a client", V5, wire(0xf0), ProtocolError, "MQTT-3.15.2-1", false},
	{"AUTH code", V5, wire(0xf0, 0x80, 0), ProtocolError, "MQTT-3.15.2-1", false},
	{"AUTH without method", V5, wire(0xf0, 0x18, 0), ProtocolError, "MQTT-4.13.1-1", false},
	{"AUTH without property length", V5, wire(0xf0, 0x18), MalformedPacket, "MQTT-4.13.1-1", false},

	{"bytes behind AUTH", V5, wire(0xf0, 0x18, block(idAuthenticationMethod, text("m")), 0), MalformedPacket, "MQTT-4.13.1-1", false},
	{"bytes behind PINGRESP", V5, wire(0xd0, 0), MalformedPacket, "MQTT-4.13.1-1", true},
	{"bytes behind CONNACK", V311, wire(0x20, 0, 0, 0), MalformedPacket, "MQTT-4.8.0-1", true},
	{"CONNACK flags", V311, wire(0x20, 2, 0), MalformedPacket, "MQTT-2.2.2-1", true},
	{"CONNACK flags in 5", V5, wire(0x20, 2, 0, 0), MalformedPacket, "MQTT-3.2.2-1", true},
	{"CONNACK return code 6", V311, wire(0x20, 0, 6), ProtocolError, "MQTT-3.2.2-6", true},
	{"CONNACK refused with session present", V5, wire(0x20, 1, 0x80, 0), ProtocolError, "MQTT-3.2.2-6", true},
	{"CONNACK refused with session present in 3.1.1", V311, wire(0x20, 1, 5), ProtocolError, "MQTT-3.2.2-4", true},
	{"CONNACK code", V5, wire(0x20, 0, 1, 0), ProtocolError, "MQTT-3.2.2-8", true},
	{"CONNACK maximum QoS 2", V5, wire(0x20, 0, 0, block(idMaximumQoS, 2)), ProtocolError, "MQTT-4.13.1-1", true},
	{"SUBACK code", V311, wire(0x90, 0, 1, 0x81), ProtocolError, "MQTT-3.9.3-2", true},
	{"SUBACK code 3", V311, wire(0x90, 0, 1, 3), ProtocolError, "MQTT-3.9.3-2", true},
	{"SUBACK code 0x87 in 3.1.1", V311, wire(0x90, 0, 1, 0x87), ProtocolError, "MQTT-3.9.3-2", true},
	{"SUBACK without codes", V5, wire(0x90, 0, 1, 0), ProtocolError, "MQTT-4.13.1-1", true},
	{"UNSUBACK code", V5, wire(0xb0, 0, 1, 0, 0x01), ProtocolError, "MQTT-3.11.3-2", true},
	{"bytes behind UNSUBACK", V311, wire(0xb0, 0, 1, 0), MalformedPacket, "MQTT-4.8.0-1", true},
}

func TestWhatTheTextsForbidIsRefusedWithItsCodeAndStatement(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(c.bytes), 0)
			r.SetVersion(c.v)
			r.Client = c.client
			p, err := r.ReadPacket()
			require.Nil(t, p)
			var e *Error
			require.ErrorAs(t, err, &e, "% x", c.bytes)
			require.Equal(t, c.code, e.Code, e.Error())
			require.Equal(t, c.statement, e.Statement, e.Error())
			require.NotEmpty(t, e.Reason)
			require.NotContains(t, e.Reason, "\x00")
			_, again := r.ReadPacket()
			require.Same(t, err, again, "an error is final")
		})
	}
}

func TestEveryTruncationOfAPacketIsRefusedAndNeverPanics(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, p := range samples(v) {
			whole, err := Append(nil, p, v)
			require.NoError(t, err)
			_, n := header2(whole)
			for end := range len(whole) {
				// The connection ends within the packet.
				r := readerFor(bytes.NewReader(whole[:end]), p, v)
				_, err := r.ReadPacket()
				if end == 0 {
					require.EqualError(t, err, "EOF")
				} else {
					require.EqualError(t, err, "unexpected EOF")
				}
				if end < n {
					continue
				}
				// The packet itself is shorter. It may be valid by chance (a shorter payload), but then it is what it says.
				short := append([]byte{whole[0]}, appendVarint(nil, uint32(end-n))...)
				short = append(short, whole[n:end]...)
				r = readerFor(bytes.NewReader(short), p, v)
				q, err := r.ReadPacket()
				if err != nil {
					var e *Error
					require.ErrorAs(t, err, &e)
					continue
				}
				again, err := Append(nil, q, v)
				require.NoError(t, err)
				require.LessOrEqual(t, len(again), len(short), "% x", short)
			}
		}
	}
}

// header2 returns a packet's remaining length and where its body begins.
func header2(b []byte) (remaining, at int) {
	for i := 1; ; i++ {
		remaining |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			return remaining, i + 1
		}
	}
}

func TestAnErrorSaysInWhichFormToAnswer(t *testing.T) {
	cases := []struct {
		bytes []byte
		want  Version
	}{
		{wire(0x30, text("t")), 0},
		{wire(0x10), 0},
		{wire(0x10, text("MQTT"), 6, 2, 0, 0, 0, text("c")), V311},
		{wire(0x10, text("OTHER"), 1), V311},
		{connectWire(V5, 0x03, 0, text("c")), V5},
		{connectWire(V31, 0x42, text("c")), V31},
		{connectWire(V311, 0x03, text("c")), V311},
	}
	for _, c := range cases {
		_, err := NewReader(bytes.NewReader(c.bytes), 0).ReadPacket()
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, c.want, e.Version, e.Error())
	}
}

func TestAnErrorNeverQuotesMoreThanAStart(t *testing.T) {
	r := NewReader(bytes.NewReader(wire(0x30, text(strings.Repeat("x", 60000)+"#"))), 0)
	r.SetVersion(V311)
	_, err := r.ReadPacket()
	require.Error(t, err)
	require.Less(t, len(err.Error()), 300)
}
