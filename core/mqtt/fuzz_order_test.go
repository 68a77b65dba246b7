package mqtt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
)

// menu lists packets that are well-formed on their own. Only their order makes a stream valid or invalid.
func menu(v packet.Version) []packet.Packet {
	return []packet.Packet{
		&packet.Connect{Version: v, CleanStart: true, ClientID: "f"},
		&packet.Publish{Topic: "T/a", Payload: []byte("0")},
		&packet.Publish{Topic: "T/a", QoS: 1, PacketID: 1, Payload: []byte("1")},
		&packet.Publish{Topic: "T/b", QoS: 2, PacketID: 2, Payload: []byte("2")},
		&packet.Publish{Topic: "T/b", QoS: 2, PacketID: 2, Dup: true, Payload: []byte("2")},
		&packet.Publish{Topic: "T/c", QoS: 1, PacketID: 3, Retain: true, Payload: []byte("r")},
		&packet.Ack{Kind: packet.PUBACK, PacketID: 1},
		&packet.Ack{Kind: packet.PUBREC, PacketID: 1},
		&packet.Ack{Kind: packet.PUBREL, PacketID: 2},
		&packet.Ack{Kind: packet.PUBCOMP, PacketID: 1},
		&packet.Subscribe{PacketID: 4, Filters: []packet.Subscription{{Filter: "T/#", QoS: 2}, {Filter: "T/+", QoS: 1}}},
		&packet.Unsubscribe{PacketID: 5, Filters: []string{"T/#", "T/x"}},
		&packet.Pingreq{},
		&packet.Disconnect{},
		// Packets that only a server sends:
		&packet.Connack{},
		&packet.Suback{PacketID: 4, Codes: []packet.Code{0}},
		&packet.Unsuback{PacketID: 5, Codes: []packet.Code{0}},
		&packet.Pingresp{},
	}
}

// ends reports whether a packet ends an admitted connection, and whether it does so as a protocol violation.
func ends(p packet.Packet) (ends, violation bool) {
	switch p.Type() {
	case packet.CONNECT, packet.CONNACK, packet.SUBACK, packet.UNSUBACK, packet.PINGRESP:
		return true, true
	case packet.DISCONNECT:
		return true, false
	default:
		return false, false
	}
}

// FuzzOrderOfPackets sends well-formed packets in any order and in pieces of any size. Only CONNECT opens a connection. A second CONNECT, a
// packet that only a server sends, and DISCONNECT end it, and nothing after them is answered. Before that, every request is answered in
// order.
func FuzzOrderOfPackets(f *testing.F) {
	f.Add(byte(5), []byte{0, 10, 2, 3, 8, 12, 11, 13}, byte(255))
	f.Add(byte(4), []byte{0, 12, 0, 12}, byte(3))
	f.Add(byte(4), []byte{12, 0}, byte(1))
	f.Add(byte(5), []byte{0, 13, 12, 2}, byte(0))
	f.Add(byte(5), []byte{0, 3, 4, 8, 8, 3, 8, 6, 7, 9, 12}, byte(2))
	f.Add(byte(4), []byte{0, 10, 10, 10, 2, 2, 2, 5, 6, 7, 9, 12, 15, 12}, byte(9))
	f.Add(byte(5), []byte{0, 14, 12}, byte(0))
	f.Add(byte(4), []byte{0, 16}, byte(4))
	f.Add(byte(5), []byte{0, 17, 2}, byte(4))
	f.Add(byte(5), []byte{}, byte(4))
	for i := range menu(packet.V5) {
		f.Add(byte(5), []byte{byte(i)}, byte(i))
		f.Add(byte(4), []byte{0, byte(i), 12}, byte(i))
		f.Add(byte(5), []byte{0, byte(i), 12}, byte(i))
	}
	g := newTarget(f)
	f.Fuzz(func(t *testing.T, v byte, choice []byte, piece byte) {
		version := packet.V311
		if v%2 == 1 {
			version = packet.V5
		}
		if len(choice) > 200 {
			return
		}
		var stream []byte
		var sent []packet.Packet
		for _, c := range choice {
			m := menu(version)
			p := m[int(c)%len(m)]
			b, err := packet.Append(stream, p, version)
			require.NoError(t, err)
			stream, sent = b, append(sent, p)
		}
		answers := readDialogue(stream).check(t, g.exchange(t, stream, int(piece)+1))
		if len(sent) == 0 || sent[0].Type() != packet.CONNECT {
			require.Empty(t, answers)
			return
		}
		require.Equal(t, packet.CONNACK, answers[0].Type())
		var want []packet.Type
		violated := false
		for _, p := range sent[1:] {
			over, violation := ends(p)
			if violated = violation; over {
				break
			}
			switch p.Type() { //nolint:exhaustive // the others are not answered, or when the store has spoken
			case packet.PINGREQ:
				want = append(want, packet.PINGRESP)
			case packet.SUBSCRIBE:
				want = append(want, packet.SUBACK)
			case packet.UNSUBSCRIBE:
				want = append(want, packet.UNSUBACK)
			}
		}
		if violated && version == packet.V5 {
			want = append(want, packet.DISCONNECT)
		}
		var got []packet.Type
		for _, a := range answers {
			switch a.Type() { //nolint:exhaustive // as above
			case packet.PINGRESP, packet.SUBACK, packet.UNSUBACK, packet.DISCONNECT:
				got = append(got, a.Type())
			}
			if d, ok := a.(*packet.Disconnect); ok {
				require.Equal(t, packet.ProtocolError, d.Code)
			}
		}
		require.Equal(t, want, got, "%v", sent)
	})
}
