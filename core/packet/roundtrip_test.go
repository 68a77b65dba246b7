package packet

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// everyProperty returns Properties with a value in each field of the set.
func everyProperty(set propertySet) *Properties {
	p := &Properties{}
	for s := set; s != 0; {
		id := s.next()
		switch properties[id].kind {
		case kindByte:
			*p.byteField(id) = new(byte(1))
		case kindUint16:
			*p.uint16Field(id) = new(uint16(id) << 8)
		case kindUint32:
			*p.uint32Field(id) = new(uint32(id) << 24)
		case kindString:
			*p.stringField(id) = new(properties[id].name)
		case kindBinary:
			*p.binaryField(id) = []byte{byte(id), 0, 0xff}
		case kindVarint:
			p.SubscriptionIdentifiers = []uint32{maxVarint}
		case kindPair:
			p.User = []UserProperty{{"b", "2"}, {"a", "1"}, {"b", "3"}, {"", ""}, {"é", "ü"}}
		}
	}
	return p
}

// samples returns packets of every type of version v, from minimal to complete.
func samples(v Version) []Packet {
	block := func(set propertySet) *Properties {
		if v != V5 {
			return nil
		}
		return everyProperty(set)
	}
	list := []Packet{
		&Connect{Version: v, CleanStart: true},
		&Connect{Version: v, KeepAlive: 0xfffe, ClientID: "c", Properties: block(connectProperties), HasUsername: true, Username: "u",
			HasPassword: true, Password: []byte("p"), Will: &Will{Topic: "w/t", Payload: []byte{0, 1}, QoS: 2, Retain: true,
				Properties: block(willProperties)}},
		&Connack{},
		&Publish{Topic: "a/b"},
		&Publish{Topic: "a/b", Retain: true, Payload: []byte("hello"), Properties: block(publishProperties)},
		&Publish{Dup: true, QoS: 2, Topic: "é", PacketID: 0xfffe, Payload: make([]byte, 300)},
		&Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "a/#", QoS: 1}}},
		&Unsubscribe{PacketID: 1, Filters: []string{"a/#"}},
		&Unsubscribe{PacketID: 2, Filters: []string{"a", "+/b"}, Properties: block(unsubscribeProperties)},
		&Suback{PacketID: 7, Codes: []Code{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}, Properties: block(answerProperties)},
		&Pingreq{}, &Pingresp{}, &Disconnect{},
	}
	for kind := PUBACK; kind <= PUBCOMP; kind++ {
		list = append(list, &Ack{Kind: kind, PacketID: 0x0102})
	}
	if v != V5 {
		list = append(list, &Unsuback{PacketID: 7}, &Connack{Code: 5})
		if v == V311 {
			list = append(list, &Connack{SessionPresent: true})
		}
		return list
	}
	for kind := PUBACK; kind <= PUBCOMP; kind++ {
		list = append(list,
			&Ack{Kind: kind, PacketID: 1, Properties: block(answerProperties)})
	}
	return append(
		list,
		&Connack{SessionPresent: true, Properties: block(connackProperties)},
		&Connack{Code: Banned},
		&Publish{Topic: "", Properties: &Properties{TopicAlias: new(uint16(3))}},
		&Publish{
			Topic:      "t",
			Properties: &Properties{CorrelationData: []byte{}, ContentType: new(""), MessageExpiryInterval: new(uint32(0))},
		},
		&Ack{Kind: PUBREL, PacketID: 1, Code: PacketIdentifierNotFound},
		&Ack{Kind: PUBACK, PacketID: 1, Code: QuotaExceeded},
		&Subscribe{PacketID: 9, Properties: block(subscribeProperties), Filters: []Subscription{
			{Filter: "$share/g/a", QoS: 2, RetainAsPublished: true, RetainHandling: 2}, {Filter: "b", NoLocal: true, RetainHandling: 1}}},
		&Unsuback{PacketID: 7, Codes: []Code{Success, NoSubscriptionExisted, NotAuthorized}, Properties: block(answerProperties)},
		&Disconnect{Code: DisconnectWithWill},
		&Disconnect{Code: UnspecifiedError, Properties: block(answerProperties)},
		&Auth{Code: ContinueAuthentication, Properties: block(authProperties)},
	)
}

// readerFor returns a Reader on the side that receives p.
func readerFor(src io.Reader, p Packet, v Version) *Reader {
	r := NewReader(src, 0)
	if p.Type() != CONNECT {
		r.SetVersion(v)
	}
	r.Client = p.Type().fromServerOnly()
	if q, ok := p.(*Publish); ok && q.Properties != nil && q.Properties.SubscriptionIdentifiers != nil {
		r.Client = true
	}
	return r
}

func TestEveryPacketComesBackAsItWasWritten(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, p := range samples(v) {
			b, err := Append(nil, p, v)
			require.NoError(t, err, "%s %s", v, p.Type())
			require.Len(t, b, Size(p, v), "%s %s", v, p.Type())
			r := readerFor(bytes.NewReader(b), p, v)
			got, err := r.ReadPacket()
			require.NoError(t, err, "%s %s % x", v, p.Type(), b)
			require.Equal(t, p, got)
			_, err = r.ReadPacket()
			require.ErrorIs(t, err, io.EOF)
		}
	}
}
