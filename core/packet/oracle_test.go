package packet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// The codec of mochi-mqtt is an independent implementation of the same texts. Each must read what the other writes, for random packets that
// both can express (mochi's properties have no zero and no empty values).

func TestAnIndependentCodecReadsWhatWeWriteAndWritesWhatWeRead(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, v := range []Version{V31, V311, V5} {
		for range 3000 {
			p := arbitrary(rng, v)
			ours, err := Append(nil, p, v)
			require.NoError(t, err, "%#v", p)

			theirs := toMochi(p, v)
			read, err := mochiDecode(ours, v)
			require.NoError(t, err, "%#v % x", p, ours)
			require.Equal(t, p, fromMochi(read, v), "they read % x", ours)

			written := mochiEncode(t, theirs)
			r := NewReader(bytes.NewReader(written), 0)
			r.Client = readerFor(nil, p, v).Client
			if p.Type() != CONNECT {
				r.SetVersion(v)
			}
			back, err := r.ReadPacket()
			require.NoError(t, err, "they wrote % x", written)
			require.Equal(t, p, back, "they wrote % x", written)
		}
	}
}

// arbitrary returns a random packet of version v that both codecs can express.
func arbitrary(rng *rand.Rand, v Version) Packet {
	word := func() string { return string(rune('a'+rng.IntN(26))) + "/é€"[:rng.IntN(2)*3] }
	payload := func() []byte {
		b := make([]byte, 1+rng.IntN(400))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	id := func() uint16 { return uint16(1 + rng.IntN(65535)) }
	block := func(allowed propertySet) *Properties {
		set := allowed & propertySet(rng.Uint64())
		if v != V5 || set == 0 {
			return nil
		}
		return everyProperty(set)
	}
	flag := func() bool { return rng.IntN(2) == 0 }
	pick := func(set *codeSet) Code {
		for v == V5 {
			if c := Code(rng.IntN(256)); set.has(c) {
				return c
			}
		}
		return Success
	}
	switch rng.IntN(11) {
	case 0:
		c := &Connect{
			Version:    v,
			CleanStart: flag(),
			KeepAlive:  uint16(rng.Uint32()),
			ClientID:   word(),
			Properties: block(connectProperties),
		}
		if c.Properties != nil && c.Properties.AuthenticationMethod == nil {
			c.Properties.AuthenticationMethod = new("m")
		}
		if flag() {
			c.Will = &Will{Topic: word(), Payload: payload(), QoS: byte(rng.IntN(3)), Retain: flag(), Properties: block(willProperties)}
		}
		if flag() {
			c.HasUsername, c.Username = true, word()
			if flag() {
				c.HasPassword, c.Password = true, payload()
			}
		}
		return c
	case 1:
		c := &Connack{Code: pick(&connackCodes), Properties: block(connackProperties)}
		if c.Properties != nil && c.Properties.AuthenticationMethod == nil {
			c.Properties.AuthenticationMethod = new("m")
		}
		c.SessionPresent = c.Code == Success && v != V31 && flag()
		return c
	case 2, 3:
		p := &Publish{QoS: byte(rng.IntN(3)), Retain: flag(), Topic: word(), Payload: payload(), Properties: block(publishProperties)}
		if p.QoS > 0 {
			p.PacketID, p.Dup = id(), flag()
		}
		return p
	case 4:
		kind := PUBACK + Type(rng.IntN(4))
		a := &Ack{Kind: kind, PacketID: id(), Properties: block(answerProperties)}
		if a.Code = pick(ackCodes(kind)); a.Code == NoMatchingSubscribers {
			a.Code = Success // mochi omits this code
		}
		return a
	case 5:
		s := &Subscribe{PacketID: id(), Properties: block(subscribeProperties)}
		for range 1 + rng.IntN(4) {
			f := Subscription{Filter: word() + "/#", QoS: byte(rng.IntN(3))}
			if v == V5 {
				f.NoLocal, f.RetainAsPublished, f.RetainHandling = flag(), flag(), byte(rng.IntN(3))
			}
			s.Filters = append(s.Filters, f)
		}
		return s
	case 6:
		s := &Suback{PacketID: id(), Properties: block(answerProperties)}
		for range 1 + rng.IntN(4) {
			s.Codes = append(s.Codes, pick(&subackCodes))
		}
		return s
	case 7:
		u := &Unsubscribe{PacketID: id(), Properties: block(unsubscribeProperties)}
		for range 1 + rng.IntN(4) {
			u.Filters = append(u.Filters, word())
		}
		return u
	case 8:
		u := &Unsuback{PacketID: id(), Properties: block(answerProperties)}
		for v == V5 && len(u.Codes) < 3 {
			u.Codes = append(u.Codes, pick(&unsubackCodes))
		}
		return u
	case 9:
		d := &Disconnect{Properties: block(answerProperties | props(idSessionExpiryInterval)), Code: pick(&clientDisconnectCodes)}
		if v == V5 && d.Properties == nil && d.Code != Success { // mochi cannot read a code without properties
			d.Properties = &Properties{ReasonString: new("r")}
		}
		return d
	default:
		if v != V5 || flag() {
			return [...]Packet{&Pingreq{}, &Pingresp{}}[rng.IntN(2)]
		}
		a := &Auth{Code: pick(&clientAuthCodes), Properties: everyProperty(authProperties)}
		return a
	}
}

func toMochi(p Packet, v Version) *mochi.Packet {
	m := &mochi.Packet{ProtocolVersion: byte(v), FixedHeader: mochi.FixedHeader{Type: byte(p.Type())},
		Mods: mochi.Mods{AllowResponseInfo: true}}
	m.FixedHeader.Qos = p.Type().fixedFlags() >> 1
	switch p := p.(type) {
	case *Connect:
		m.Connect = mochi.ConnectParams{
			ProtocolName:     []byte(protocolName(v)),
			Clean:            p.CleanStart,
			Keepalive:        p.KeepAlive,
			ClientIdentifier: p.ClientID,
			UsernameFlag:     p.HasUsername,
			Username:         []byte(p.Username),
			PasswordFlag:     p.HasPassword,
			Password:         p.Password,
		}
		if w := p.Will; w != nil {
			m.Connect.WillFlag, m.Connect.WillTopic, m.Connect.WillPayload = true, w.Topic, w.Payload
			m.Connect.WillQos, m.Connect.WillRetain = w.QoS, w.Retain
			propertiesToMochi(&m.Connect.WillProperties, w.Properties)
		}
		propertiesToMochi(&m.Properties, p.Properties)
	case *Connack:
		m.SessionPresent, m.ReasonCode = p.SessionPresent, byte(p.Code)
		propertiesToMochi(&m.Properties, p.Properties)
	case *Publish:
		m.FixedHeader.Dup, m.FixedHeader.Qos, m.FixedHeader.Retain = p.Dup, p.QoS, p.Retain
		m.TopicName, m.PacketID, m.Payload = p.Topic, p.PacketID, p.Payload
		propertiesToMochi(&m.Properties, p.Properties)
	case *Ack:
		m.PacketID, m.ReasonCode = p.PacketID, byte(p.Code)
		propertiesToMochi(&m.Properties, p.Properties)
	case *Subscribe:
		m.PacketID = p.PacketID
		for _, f := range p.Filters {
			m.Filters = append(m.Filters, mochi.Subscription{Filter: f.Filter, Qos: f.QoS, NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling})
		}
		propertiesToMochi(&m.Properties, p.Properties)
	case *Suback:
		m.PacketID, m.ReasonCodes = p.PacketID, rawCodes(p.Codes)
		propertiesToMochi(&m.Properties, p.Properties)
	case *Unsubscribe:
		m.PacketID = p.PacketID
		for _, f := range p.Filters {
			m.Filters = append(m.Filters, mochi.Subscription{Filter: f})
		}
		propertiesToMochi(&m.Properties, p.Properties)
	case *Unsuback:
		m.PacketID, m.ReasonCodes = p.PacketID, rawCodes(p.Codes)
		propertiesToMochi(&m.Properties, p.Properties)
	case *Disconnect:
		m.ReasonCode = byte(p.Code)
		propertiesToMochi(&m.Properties, p.Properties)
	case *Auth:
		m.ReasonCode = byte(p.Code)
		propertiesToMochi(&m.Properties, p.Properties)
	}
	return m
}

func fromMochi(m *mochi.Packet, v Version) Packet {
	block := func(p *mochi.Properties) *Properties {
		if v != V5 {
			return nil
		}
		return propertiesFromMochi(p)
	}
	switch t := Type(m.FixedHeader.Type); t {
	case CONNECT:
		c := &Connect{Version: Version(m.ProtocolVersion), CleanStart: m.Connect.Clean, KeepAlive: m.Connect.Keepalive,
			ClientID: m.Connect.ClientIdentifier, HasUsername: m.Connect.UsernameFlag, Username: string(m.Connect.Username),
			HasPassword: m.Connect.PasswordFlag, Password: m.Connect.Password, Properties: block(&m.Properties)}
		if m.Connect.WillFlag {
			c.Will = &Will{Topic: m.Connect.WillTopic, Payload: m.Connect.WillPayload, QoS: m.Connect.WillQos,
				Retain: m.Connect.WillRetain, Properties: block(&m.Connect.WillProperties)}
		}
		return c
	case CONNACK:
		return &Connack{SessionPresent: m.SessionPresent, Code: Code(m.ReasonCode), Properties: block(&m.Properties)}
	case PUBLISH:
		return &Publish{Dup: m.FixedHeader.Dup, QoS: m.FixedHeader.Qos, Retain: m.FixedHeader.Retain, Topic: m.TopicName,
			PacketID: m.PacketID, Payload: append([]byte(nil), m.Payload...), Properties: block(&m.Properties)}
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return &Ack{Kind: t, PacketID: m.PacketID, Code: Code(m.ReasonCode), Properties: block(&m.Properties)}
	case SUBSCRIBE:
		s := &Subscribe{PacketID: m.PacketID, Properties: block(&m.Properties)}
		for _, f := range m.Filters {
			s.Filters = append(s.Filters, Subscription{Filter: f.Filter, QoS: f.Qos, NoLocal: f.NoLocal,
				RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling})
		}
		return s
	case SUBACK:
		return &Suback{PacketID: m.PacketID, Codes: fromRawCodes(m.ReasonCodes), Properties: block(&m.Properties)}
	case UNSUBSCRIBE:
		u := &Unsubscribe{PacketID: m.PacketID, Properties: block(&m.Properties)}
		for _, f := range m.Filters {
			u.Filters = append(u.Filters, f.Filter)
		}
		return u
	case UNSUBACK:
		return &Unsuback{PacketID: m.PacketID, Codes: fromRawCodes(m.ReasonCodes), Properties: block(&m.Properties)}
	case PINGREQ:
		return &Pingreq{}
	case PINGRESP:
		return &Pingresp{}
	case DISCONNECT:
		return &Disconnect{Code: Code(m.ReasonCode), Properties: block(&m.Properties)}
	case AUTH:
		return &Auth{Code: Code(m.ReasonCode), Properties: block(&m.Properties)}
	default:
		panic(fmt.Sprint("no such type: ", t))
	}
}

func rawCodes(list []Code) (b []byte) {
	for _, c := range list {
		b = append(b, byte(c))
	}
	return b
}

func fromRawCodes(b []byte) (list []Code) {
	for _, c := range b {
		list = append(list, Code(c))
	}
	return list
}

func mochiEncode(t *testing.T, m *mochi.Packet) []byte {
	t.Helper()
	encode := map[byte]func(*bytes.Buffer) error{
		mochi.Connect: m.ConnectEncode, mochi.Connack: m.ConnackEncode, mochi.Publish: m.PublishEncode, mochi.Puback: m.PubackEncode,
		mochi.Pubrec: m.PubrecEncode, mochi.Pubrel: m.PubrelEncode, mochi.Pubcomp: m.PubcompEncode, mochi.Subscribe: m.SubscribeEncode,
		mochi.Suback: m.SubackEncode, mochi.Unsubscribe: m.UnsubscribeEncode, mochi.Unsuback: m.UnsubackEncode,
		mochi.Pingreq: m.PingreqEncode, mochi.Pingresp: m.PingrespEncode, mochi.Disconnect: m.DisconnectEncode, mochi.Auth: m.AuthEncode,
	}
	var b bytes.Buffer
	require.NoError(t, encode[m.FixedHeader.Type](&b))
	return b.Bytes()
}

func mochiDecode(b []byte, v Version) (*mochi.Packet, error) {
	m := &mochi.Packet{ProtocolVersion: byte(v)}
	if err := m.FixedHeader.Decode(b[0]); err != nil {
		return nil, err
	}
	remaining, at := header2(b)
	m.FixedHeader.Remaining = remaining
	decode := map[byte]func([]byte) error{
		mochi.Connect: m.ConnectDecode, mochi.Connack: m.ConnackDecode, mochi.Publish: m.PublishDecode, mochi.Puback: m.PubackDecode,
		mochi.Pubrec: m.PubrecDecode, mochi.Pubrel: m.PubrelDecode, mochi.Pubcomp: m.PubcompDecode, mochi.Subscribe: m.SubscribeDecode,
		mochi.Suback: m.SubackDecode, mochi.Unsubscribe: m.UnsubscribeDecode, mochi.Unsuback: m.UnsubackDecode,
		mochi.Pingreq: m.PingreqDecode, mochi.Pingresp: m.PingrespDecode, mochi.Disconnect: m.DisconnectDecode, mochi.Auth: m.AuthDecode,
	}
	return m, decode[m.FixedHeader.Type](b[at:])
}
