package packet

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// good are packets as the texts define them, byte by byte. Packets that are not exact also have a shorter form, which the encoder writes.
var good = []struct {
	name    string
	v       Version
	bytes   []byte
	packet  Packet
	client  bool
	inexact bool
}{
	{name: "CONNECT 3.1", v: V31, bytes: wire(0x10, 0, 6, "MQIsdp", 3, 2, 0, 60, 0, 1, "c"),
		packet: &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "c"}},
	{name: "CONNECT 3.1 with user name flag and no user name", v: V31, bytes: connectWire(V31, 0xc2, text("c")),
		packet: &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "c"}, inexact: true},
	{name: "CONNECT 3.1 with password flag and no password", v: V31, bytes: connectWire(V31, 0xc2, text("c"), text("u")),
		packet: &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "c", HasUsername: true, Username: "u"}, inexact: true},
	{name: "CONNECT 3.1 with will bits and no will", v: V31, bytes: connectWire(V31, 0x3a, text("c")),
		packet: &Connect{Version: V31, CleanStart: true, KeepAlive: 60, ClientID: "c"}, inexact: true},
	{name: "CONNECT 3.1.1", v: V311,
		bytes: wire(0x10, 0, 4, "MQTT", 4, 0xee, 0x12, 0x34, 0, 1, "c", 0, 1, "w", 0, 2, 0, 0xff, 0, 1, "u", 0, 1, "p"),
		packet: &Connect{Version: V311, CleanStart: true, KeepAlive: 0x1234, ClientID: "c", HasUsername: true, Username: "u",
			HasPassword: true, Password: []byte("p"), Will: &Will{Topic: "w", Payload: []byte{0, 0xff}, QoS: 1, Retain: true}}},
	{name: "CONNECT with empty will payload, user name and password", v: V311,
		bytes:  connectWire(V311, 0xc4, text(""), text("w"), text(""), text(""), text("")),
		packet: &Connect{Version: V311, KeepAlive: 60, HasUsername: true, HasPassword: true, Will: &Will{Topic: "w"}}},
	{name: "CONNECT 5 with a password and no user name", v: V5, bytes: connectWire(V5, 0x42, 0, text("c"), text("p")),
		packet: &Connect{Version: V5, CleanStart: true, KeepAlive: 60, ClientID: "c", HasPassword: true, Password: []byte("p")}},
	{name: "CONNECT 5 with properties", v: V5,
		bytes: connectWire(V5, 0x06, block(
			idSessionExpiryInterval,
			0xff,
			0xff,
			0xff,
			0xff,
			idAuthenticationMethod,
			text("m"),
			idAuthenticationData,
			text(""),
			idReceiveMaximum,
			0,
			10,
		), text(""), block(idWillDelayInterval, 0, 0, 0, 5), text("w"), text("x")),
		packet: &Connect{Version: V5, CleanStart: true, KeepAlive: 60,
			Properties: &Properties{SessionExpiryInterval: new(uint32(0xffffffff)), AuthenticationMethod: new("m"),
				AuthenticationData: []byte{}, ReceiveMaximum: new(uint16(10))},
			Will: &Will{Topic: "w", Payload: []byte("x"), Properties: &Properties{WillDelayInterval: new(uint32(5))}}}},
	{name: "CONNACK 3.1.1", v: V311, client: true, bytes: []byte{0x20, 2, 1, 0}, packet: &Connack{SessionPresent: true}},
	{name: "CONNACK 3.1.1 refused", v: V311, client: true, bytes: []byte{0x20, 2, 0, 4}, packet: &Connack{Code: 4}},
	{name: "CONNACK 3.1 with a reserved byte", v: V31, client: true, bytes: []byte{0x20, 2, 7, 0}, packet: &Connack{}, inexact: true},
	{name: "CONNACK 5", v: V5, client: true, bytes: wire(0x20, 1, 0, block(idAssignedClientIdentifier, text("x"), idMaximumQoS, 1)),
		packet: &Connack{SessionPresent: true, Properties: &Properties{AssignedClientIdentifier: new("x"), MaximumQoS: new(byte(1))}}},
	{name: "CONNACK 5 refused", v: V5, client: true, bytes: []byte{0x20, 3, 0, 0x87, 0}, packet: &Connack{Code: NotAuthorized}},

	{name: "PUBLISH QoS 0 without payload", v: V311, bytes: []byte{0x31, 3, 0, 1, 't'}, packet: &Publish{Retain: true, Topic: "t"}},
	{name: "PUBLISH QoS 2", v: V311, bytes: []byte{0x3c, 8, 0, 1, 't', 0xff, 0xff, 'a', 0, 'b'},
		packet: &Publish{Dup: true, QoS: 2, Topic: "t", PacketID: 0xffff, Payload: []byte("a\x00b")}},
	{name: "PUBLISH with a topic of odd characters", v: V311, bytes: wire(0x30, text("\ufeff\U0010ffff /$\x01\x7f")),
		packet: &Publish{Topic: "\ufeff\U0010ffff /$\x01\x7f"}},
	{name: "PUBLISH 5 with an alias only", v: V5, bytes: wire(0x30, text(""), block(idTopicAlias, 0, 7), "x"),
		packet: &Publish{Properties: &Properties{TopicAlias: new(uint16(7))}, Payload: []byte("x")}},
	{name: "PUBLISH 5 with alias 0, the server's to refuse", v: V5, bytes: wire(0x30, text("t"), block(idTopicAlias, 0, 0)),
		packet: &Publish{Topic: "t", Properties: &Properties{TopicAlias: new(uint16(0))}}},
	{name: "PUBLISH 5 with zero and empty values", v: V5,
		bytes: wire(0x30, text("t"), block(idPayloadFormat, 0, idMessageExpiryInterval, 0, 0, 0, 0, idContentType, 0, 0,
			idCorrelationData, 0, 0, idUserProperty, 0, 0, 0, 0)),
		packet: &Publish{Topic: "t", Properties: &Properties{PayloadFormat: new(byte(0)), MessageExpiryInterval: new(uint32(0)),
			ContentType: new(""), CorrelationData: []byte{}, User: []UserProperty{{}}}}},
	{name: "PUBLISH 5 from a server with several identifiers", v: V5, client: true,
		bytes:  wire(0x30, text("t"), block(idSubscriptionIdentifier, 1, idSubscriptionIdentifier, 0xff, 0xff, 0xff, 0x7f)),
		packet: &Publish{Topic: "t", Properties: &Properties{SubscriptionIdentifiers: []uint32{1, maxVarint}}}},
	{
		name: "user properties keep their order",
		v:    V5,
		bytes: wire(
			0x30,
			text("t"),
			block(idUserProperty, text("b"), text("1"), idUserProperty, text("a"), text("2"), idUserProperty, text("b"), text("3")),
		),
		packet: &Publish{Topic: "t", Properties: &Properties{User: []UserProperty{{"b", "1"}, {"a", "2"}, {"b", "3"}}}},
	},

	{name: "PUBACK", v: V311, bytes: []byte{0x40, 2, 1, 2}, packet: &Ack{Kind: PUBACK, PacketID: 0x0102}},
	{name: "PUBREC", v: V5, bytes: []byte{0x50, 2, 1, 2}, packet: &Ack{Kind: PUBREC, PacketID: 0x0102}},
	{name: "PUBREL", v: V311, bytes: []byte{0x62, 2, 1, 2}, packet: &Ack{Kind: PUBREL, PacketID: 0x0102}},
	{name: "PUBREL 3.1 sent again", v: V31, bytes: []byte{0x6a, 2, 1, 2}, packet: &Ack{Kind: PUBREL, PacketID: 0x0102}, inexact: true},
	{
		name:   "PUBCOMP 5 with a code",
		v:      V5,
		bytes:  []byte{0x70, 3, 1, 2, 0x92},
		packet: &Ack{Kind: PUBCOMP, PacketID: 0x0102, Code: PacketIdentifierNotFound},
	},
	{
		name:    "PUBACK 5 with success spelt out",
		v:       V5,
		bytes:   []byte{0x40, 3, 1, 2, 0},
		packet:  &Ack{Kind: PUBACK, PacketID: 0x0102},
		inexact: true,
	},
	{
		name:    "PUBACK 5 with an empty property block",
		v:       V5,
		bytes:   []byte{0x40, 4, 1, 2, 0x10, 0},
		packet:  &Ack{Kind: PUBACK, PacketID: 0x0102, Code: NoMatchingSubscribers},
		inexact: true,
	},
	{name: "PUBACK 5 with properties", v: V5, bytes: wire(0x40, 1, 2, 0, block(idReasonString, text("r"))),
		packet: &Ack{Kind: PUBACK, PacketID: 0x0102, Properties: &Properties{ReasonString: new("r")}}},

	{name: "SUBSCRIBE", v: V311, bytes: wire(0x82, 0, 1, text("a"), 0, text("b/#"), 2),
		packet: &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a"}, {Filter: "b/#", QoS: 2}}}},
	{name: "SUBSCRIBE 3.1 sent again, with upper bits", v: V31, bytes: wire(0x8a, 0, 1, text("a"), 0xf1),
		packet: &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", QoS: 1}}}, inexact: true},
	{name: "SUBSCRIBE 5", v: V5, bytes: wire(0x82, 0, 1, block(idSubscriptionIdentifier, 0x80, 1), text("a"), 0x2e),
		packet: &Subscribe{PacketID: 1, Properties: &Properties{SubscriptionIdentifiers: []uint32{128}},
			Filters: []Subscription{{Filter: "a", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}}}},
	{name: "SUBSCRIBE with an invalid filter, the server's to refuse", v: V311, bytes: wire(0x82, 0, 1, text("a#"), 0, text(""), 0),
		packet: &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a#"}, {}}}},
	{name: "SUBACK", v: V311, client: true, bytes: []byte{0x90, 6, 0, 1, 0, 1, 2, 0x80},
		packet: &Suback{PacketID: 1, Codes: []Code{0, 1, 2, 0x80}}},
	{
		name:   "UNSUBSCRIBE",
		v:      V311,
		bytes:  wire(0xa2, 0, 1, text("a"), text("b")),
		packet: &Unsubscribe{PacketID: 1, Filters: []string{"a", "b"}},
	},
	{name: "UNSUBACK", v: V311, client: true, bytes: []byte{0xb0, 2, 0, 1}, packet: &Unsuback{PacketID: 1}},
	{
		name:   "UNSUBACK 5",
		v:      V5,
		client: true,
		bytes:  []byte{0xb0, 5, 0, 1, 0, 0, 0x11},
		packet: &Unsuback{PacketID: 1, Codes: []Code{0, NoSubscriptionExisted}},
	},
	{name: "PINGREQ", v: V311, bytes: []byte{0xc0, 0}, packet: &Pingreq{}},
	{name: "PINGRESP", v: V311, client: true, bytes: []byte{0xd0, 0}, packet: &Pingresp{}},
	{name: "DISCONNECT", v: V311, bytes: []byte{0xe0, 0}, packet: &Disconnect{}},
	{name: "DISCONNECT 5", v: V5, bytes: []byte{0xe0, 0}, packet: &Disconnect{}},
	{name: "DISCONNECT 5 with a code", v: V5, bytes: []byte{0xe0, 1, 4}, packet: &Disconnect{Code: DisconnectWithWill}},
	{name: "DISCONNECT 5 with an empty property block", v: V5, bytes: []byte{0xe0, 2, 0, 0}, packet: &Disconnect{}, inexact: true},
	{name: "DISCONNECT 5 with properties", v: V5, bytes: wire(0xe0, 0, block(idSessionExpiryInterval, 0, 0, 0, 0)),
		packet: &Disconnect{Properties: &Properties{SessionExpiryInterval: new(uint32(0))}}},
	{name: "DISCONNECT 5 from a server", v: V5, client: true, bytes: wire(0xe0, 0x9d, block(idServerReference, text("other:1883"))),
		packet: &Disconnect{Code: ServerMoved, Properties: &Properties{ServerReference: new("other:1883")}}},
	{name: "AUTH", v: V5, bytes: wire(0xf0, 0x19, block(idAuthenticationMethod, text("m"))),
		packet: &Auth{Code: ReAuthenticate, Properties: &Properties{AuthenticationMethod: new("m")}}},
	{name: "AUTH, empty, from a server", v: V5, client: true, bytes: []byte{0xf0, 0}, packet: &Auth{}},
}

func TestPacketsAreReadAndWrittenAsTheTextsLayThemOut(t *testing.T) {
	for _, c := range good {
		t.Run(c.name, func(t *testing.T) {
			r := NewReader(bytes.NewReader(c.bytes), 0)
			if c.packet.Type() != CONNECT {
				r.SetVersion(c.v)
			}
			r.Client = c.client
			p, err := r.ReadPacket()
			require.NoError(t, err)
			require.Equal(t, c.packet, p)
			b, err := Append(nil, p, c.v)
			require.NoError(t, err)
			if !c.inexact {
				require.Equal(t, c.bytes, b)
			}
			require.Len(t, b, Size(p, c.v))
		})
	}
}

func TestWhatCannotBeWrittenIsRefusedAndLeavesNothingBehind(t *testing.T) {
	long := string(make([]byte, 65536))
	cases := map[string]struct {
		v Version
		p Packet
	}{
		"topic too long":           {V311, &Publish{Topic: long}},
		"QoS 3":                    {V311, &Publish{Topic: "t", QoS: 3, PacketID: 1}},
		"DUP with QoS 0":           {V311, &Publish{Topic: "t", Dup: true}},
		"no packet identifier":     {V311, &Publish{Topic: "t", QoS: 1}},
		"wrong property":           {V5, &Publish{Topic: "t", Properties: &Properties{ReasonString: new("r")}}},
		"string property too long": {V5, &Publish{Topic: "t", Properties: &Properties{ContentType: new(long)}}},
		"binary property too long": {V5, &Publish{Topic: "t", Properties: &Properties{CorrelationData: []byte(long)}}},
		"user property too long": {
			V5,
			&Publish{Topic: "t", Properties: &Properties{User: []UserProperty{{"k", long}, {"k", "v"}}}},
		},
		"subscription identifier 0": {V5, &Publish{Topic: "t", Properties: &Properties{SubscriptionIdentifiers: []uint32{0}}}},
		"subscription identifier too large": {
			V5,
			&Publish{Topic: "t", Properties: &Properties{SubscriptionIdentifiers: []uint32{maxVarint + 1}}},
		},
		"client identifier too long":     {V311, &Connect{ClientID: long}},
		"password too long":              {V311, &Connect{HasPassword: true, Password: []byte(long)}},
		"will QoS 3":                     {V311, &Connect{Will: &Will{Topic: "t", QoS: 3}}},
		"will with a property of others": {V5, &Connect{Will: &Will{Topic: "t", Properties: &Properties{TopicAlias: new(uint16(1))}}}},
		"CONNACK code":                   {V5, &Connack{Code: SessionTakenOver}},
		"CONNACK refused with session":   {V311, &Connack{Code: NotAuthorized, SessionPresent: true}},
		"ack of a wrong kind":            {V311, &Ack{Kind: SUBACK, PacketID: 1}},
		"ack without packet identifier":  {V311, &Ack{Kind: PUBACK}},
		"ack code":                       {V5, &Ack{Kind: PUBREL, PacketID: 1, Code: NotAuthorized}},
		"no filters":                     {V311, &Subscribe{PacketID: 1}},
		"filter too long":                {V311, &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: long}}}},
		"subscribe QoS 3":                {V311, &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", QoS: 3}}}},
		"retain handling 3":              {V5, &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a", RetainHandling: 3}}}},
		"two subscription identifiers": {
			V5,
			&Subscribe{
				PacketID:   1,
				Filters:    []Subscription{{Filter: "a"}},
				Properties: &Properties{SubscriptionIdentifiers: []uint32{1, 2}},
			},
		},
		"no filters to unsubscribe":          {V311, &Unsubscribe{PacketID: 1}},
		"filter to unsubscribe too long":     {V311, &Unsubscribe{PacketID: 1, Filters: []string{long}}},
		"SUBACK without codes":               {V311, &Suback{PacketID: 1}},
		"SUBACK without packet identifier":   {V5, &Suback{Codes: []Code{0}}},
		"UNSUBSCRIBE without identifier":     {V5, &Unsubscribe{Filters: []string{"a"}}},
		"SUBSCRIBE without identifier":       {V5, &Subscribe{Filters: []Subscription{{Filter: "a"}}}},
		"SUBACK code":                        {V311, &Suback{PacketID: 1, Codes: []Code{NoSubscriptionExisted}}},
		"UNSUBACK without packet identifier": {V311, &Unsuback{}},
		"UNSUBACK without codes":             {V5, &Unsuback{PacketID: 1}},
		"DISCONNECT code":                    {V5, &Disconnect{Code: Banned}},
		"AUTH in 3.1.1":                      {V311, &Auth{}},
		"AUTH without method":                {V5, &Auth{Code: ContinueAuthentication}},
		"AUTH code":                          {V5, &Auth{Code: NotAuthorized}},
		"unknown version":                    {0, &Pingreq{}},
		"packet over the protocol's limit":   {V311, &Publish{Topic: "t", Payload: make([]byte, maxVarint)}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b, err := Append([]byte("kept"), c.p, c.v)
			require.Error(t, err)
			require.Equal(t, "kept", string(b))
		})
	}
	huge := &Publish{Topic: "t", Payload: make([]byte, maxVarint)}
	require.Equal(t, "kept", string(AppendPublish([]byte("kept"), V5, huge)))
	require.Equal(t, "kept", string(AppendPublish([]byte("kept"), V5, &Publish{Topic: long})))
}

func TestCodesBecomeThoseOfMQTT3(t *testing.T) {
	want := map[Code]byte{Success: 0, UnsupportedProtocolVersion: 1, ClientIdentifierNotValid: 2, ServerUnavailable: 3, ServerBusy: 3,
		QuotaExceeded: 3, BadUserNameOrPassword: 4, BadAuthenticationMethod: 4, NotAuthorized: 5, Banned: 5, Code(4): 4}
	for c, n := range want {
		require.Equal(t, n, c.ConnackV3(), c.String())
		b, err := Append(nil, &Connack{Code: c}, V311)
		require.NoError(t, err)
		require.Equal(t, []byte{0x20, 2, 0, n}, b)
	}
	b, err := Append(nil, &Suback{PacketID: 1, Codes: []Code{GrantedQoS2, NotAuthorized}}, V311)
	require.NoError(t, err)
	require.Equal(t, []byte{0x90, 4, 0, 1, 2, 0x80}, b)
}

func TestTheShortFormsAreThoseOfAppend(t *testing.T) {
	require.Equal(t, []byte{0xd0, 0}, AppendPingresp(nil))
	for _, v := range []Version{V31, V311, V5} {
		for kind := PUBACK; kind <= PUBCOMP; kind++ {
			for _, code := range []Code{Success, PacketIdentifierNotFound, NotAuthorized} {
				if !ackCodes(kind).has(code) {
					continue
				}
				want, err := Append(nil, &Ack{Kind: kind, PacketID: 0xabcd, Code: code}, v)
				require.NoError(t, err)
				require.Equal(t, want, AppendAck(nil, kind, 0xabcd, code, v))
			}
		}
		for _, p := range samples(v) {
			if p, ok := p.(*Publish); ok {
				want, err := Append(nil, p, v)
				require.NoError(t, err)
				require.Equal(t, want, AppendPublish(nil, v, p))
			}
		}
	}
}

func TestNamesAreThoseOfTheText(t *testing.T) {
	require.Equal(t, "CONNECT", CONNECT.String())
	require.Equal(t, "AUTH", AUTH.String())
	require.Equal(t, "Type(16)", Type(16).String())
	require.Equal(t, "3.1 3.1.1 5.0 Version(6)", fmt.Sprint(V31, V311, V5, Version(6)))
	require.Equal(t, "packet too large", PacketTooLarge.String())
	require.Equal(t, "reason code 0x55", Code(0x55).String())
	require.True(t, MalformedPacket.Failed())
	require.False(t, NoMatchingSubscribers.Failed())
	require.Equal(t, "malformed packet (0x81): PUBLISH: QoS 3 [MQTT-3.3.1-4]", checkPublishFlags(6, V5).Error())
}
