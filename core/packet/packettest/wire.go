package packettest

import "fmt"

// Identifiers of properties.
const (
	propPayloadFormat              = 1
	propMessageExpiryInterval      = 2
	propContentType                = 3
	propResponseTopic              = 8
	propCorrelationData            = 9
	propSubscriptionIdentifier     = 11
	propSessionExpiryInterval      = 17
	propAuthenticationMethod       = 21
	propAuthenticationData         = 22
	propRequestProblemInformation  = 23
	propWillDelayInterval          = 24
	propRequestResponseInformation = 25
	propReasonString               = 31
	propReceiveMaximum             = 33
	propTopicAliasMaximum          = 34
	propTopicAlias                 = 35
	propMaximumQoS                 = 36
	propUserProperty               = 38
	propMaximumPacketSize          = 39
)

// text is a string with its length in front.
type text string

// wire builds a packet from its first byte and body, with the right remaining length.
func wire(first byte, body ...any) []byte {
	b := join(body...)
	return append(varint([]byte{first}, len(b)), b...)
}

// join concatenates bytes (int), raw strings, texts and byte slices.
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
			b = append(b, byte(len(p)>>8), byte(len(p)))
			b = append(b, p...)
		default:
			panic(fmt.Sprintf("%T", p))
		}
	}
	return b
}

// block is a property block with its length in front.
func block(parts ...any) []byte {
	b := join(parts...)
	return append(varint(nil, len(b)), b...)
}

func varint(b []byte, n int) []byte {
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

// connectWire returns a CONNECT with a keep alive of a minute.
func connectWire(v byte, flags int, rest ...any) []byte {
	name := text("MQTT")
	if v == V31 {
		name = "MQIsdp"
	}
	return wire(0x10, name, int(v), flags, 0, 60, join(rest...))
}
