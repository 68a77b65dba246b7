package packet

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet/packettest"
)

// wire builds a packet from its first byte and body, with the right remaining length.
func wire(first byte, body ...any) []byte {
	b := join(body...)
	return append(appendVarint([]byte{first}, uint32(len(b))), b...)
}

// join concatenates bytes (int), raw strings and byte slices.
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

func TestWhatTheTextsForbidIsRefusedWithItsCodeAndStatement(t *testing.T) {
	for _, c := range packettest.Refusals {
		t.Run(c.Name, func(t *testing.T) {
			r := refusalReader(c)
			p, err := r.ReadPacket()
			require.Nil(t, p)
			var e *Error
			require.ErrorAs(t, err, &e, "% x", c.Bytes)
			require.Equal(t, Code(c.Code), e.Code, e.Error())
			require.Equal(t, c.Statement(), strings.TrimPrefix(e.Statement, "MQTT-"), e.Error())
			require.NotEmpty(t, e.Reason)
			require.NotContains(t, e.Reason, "\x00")
			_, again := r.ReadPacket()
			require.Same(t, err, again, "an error is final")
		})
	}
}

// refusalReader returns a Reader on the side that would receive the packet.
func refusalReader(c packettest.Refusal) *Reader {
	r := NewReader(bytes.NewReader(c.Bytes), 0)
	if c.From != packettest.First {
		r.SetVersion(Version(c.Version))
	}
	r.Client = c.From == packettest.FromServer
	return r
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
				// The packet itself is shorter. It may be valid by chance (a shorter payload), but then it must round-trip.
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

// header2 returns a packet's remaining length and the offset of its body.
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
		{wire(0x10, text("MQTT"), 6, 2, 0, 0, 0, text("c")), V5},
		{wire(0x10, text("MQTT"), 0x84, 2, 0, 0, text("c")), V311},
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
