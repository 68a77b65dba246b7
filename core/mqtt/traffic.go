package mqtt

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/lmqgate/lmqgate/core/packet"
)

// traffic counts the packets and bytes of one direction, by type of packet.
type traffic struct {
	packets, bytes [packet.AUTH + 1]prometheus.Counter
}

// init looks up the counters of a direction once, so that each packet costs two additions.
func (t *traffic) init(packets, bytes *prometheus.CounterVec, direction string) {
	for i := range t.packets {
		if kind := packet.Type(i); kind != 0 {
			t.packets[i] = packets.WithLabelValues(direction, kind.String())
			t.bytes[i] = bytes.WithLabelValues(direction, kind.String())
		}
	}
}

// one counts a packet and its bytes.
func (t *traffic) one(kind packet.Type, bytes int) {
	t.packets[kind].Inc()
	t.bytes[kind].Add(float64(bytes))
}

// encoded counts the packets that are encoded one after another in b.
func (t *traffic) encoded(b []byte) {
	for len(b) > 1 {
		size, shift, i := 0, 0, 1
		for ; i < len(b); i++ {
			size |= int(b[i]&0x7f) << shift
			shift += 7
			if b[i]&0x80 == 0 {
				break
			}
		}
		size = min(size+i+1, len(b))
		if kind := packet.Type(b[0] >> 4); kind != 0 {
			t.one(kind, size)
		}
		b = b[size:]
	}
}
