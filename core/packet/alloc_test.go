package packet

import (
	"bytes"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// repeat is an endless reader of the same bytes.
type repeat struct {
	b  []byte
	at int
}

func (r *repeat) Read(b []byte) (n int, err error) {
	for n < len(b) {
		c := copy(b[n:], r.b[r.at:])
		n += c
		r.at = (r.at + c) % len(r.b)
	}
	return n, nil
}

func readAllocs(t *testing.T, v Version, p Packet) float64 {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget buffers")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a garbage collection would empty the pool
	r := NewReader(&repeat{b: stream(t, v, p)}, 0)
	r.SetVersion(v)
	return testing.AllocsPerRun(50, func() {
		if _, err := r.ReadPacket(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReadingAPublishCostsTwoAllocations(t *testing.T) {
	for _, size := range []int{0, 100, 2000, 20_000, 1 << 20} {
		p := &Publish{Topic: "sensors/1/temperature", QoS: 1, PacketID: 7, Payload: make([]byte, size)}
		for _, v := range []Version{V311, V5} {
			require.LessOrEqual(t, readAllocs(t, v, p), 2.0, "%d bytes, %s", size, v)
		}
	}
	// Properties cost their struct, one for all single values, and one for user properties.
	p := &Publish{Topic: "t", Properties: everyProperty(publishProperties &^ props(idSubscriptionIdentifier))}
	p.Properties.User = p.Properties.User[:4]
	require.LessOrEqual(t, readAllocs(t, V5, p), 5.0)
}

func TestReadingAnAckCostsOneAllocation(t *testing.T) {
	require.LessOrEqual(t, readAllocs(t, V5, &Ack{Kind: PUBACK, PacketID: 7}), 1.0)
	require.LessOrEqual(t, readAllocs(t, V5, &Ack{Kind: PUBREC, PacketID: 7, Code: NotAuthorized}), 1.0)
	require.Zero(t, readAllocs(t, V5, &Pingreq{}))
}

func TestWritingAllocatesNothingWhenThereIsRoom(t *testing.T) {
	dst := make([]byte, 0, 4096)
	for _, v := range []Version{V31, V311, V5} {
		for _, p := range samples(v) {
			require.Zero(t, testing.AllocsPerRun(50, func() {
				if _, err := Append(dst, p, v); err != nil {
					t.Fatal(err)
				}
			}), "%s %s", v, p.Type())
			require.Zero(t, testing.AllocsPerRun(50, func() { Size(p, v) }))
			if p, ok := p.(*Publish); ok {
				require.Zero(t, testing.AllocsPerRun(50, func() { AppendPublish(dst, v, p) }))
			}
		}
	}
	require.Zero(t, testing.AllocsPerRun(50, func() { AppendPingresp(AppendAck(dst, PUBREC, 9, Success, V5)) }))
}

func benchmarkRead(b *testing.B, v Version, p Packet) {
	raw := stream(b, v, p)
	r := NewReader(&repeat{b: raw}, 0)
	r.SetVersion(v)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.ReadPacket(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadPublish(b *testing.B) {
	p := &Publish{Topic: "sensors/1/temperature", QoS: 1, PacketID: 7, Payload: make([]byte, 128)}
	b.Run("3.1.1", func(b *testing.B) { benchmarkRead(b, V311, p) })
	b.Run("5.0", func(b *testing.B) { benchmarkRead(b, V5, p) })
	full := *p
	full.Properties = everyProperty(messageProperties)
	b.Run("5.0 with properties", func(b *testing.B) { benchmarkRead(b, V5, &full) })
	large := *p
	large.Payload = make([]byte, 1<<20)
	b.Run("1 MiB", func(b *testing.B) { benchmarkRead(b, V5, &large) })
}

func BenchmarkReadAck(b *testing.B) { benchmarkRead(b, V5, &Ack{Kind: PUBACK, PacketID: 7}) }

func BenchmarkAppendPublish(b *testing.B) {
	dst := make([]byte, 0, 4096)
	p := &Publish{Topic: "sensors/1/temperature", QoS: 1, PacketID: 7, Payload: make([]byte, 128)}
	run := func(v Version, p *Publish) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AppendPublish(dst, v, p)
			}
		}
	}
	b.Run("3.1.1", run(V311, p))
	b.Run("5.0", run(V5, p))
	full := *p
	full.Properties = everyProperty(messageProperties)
	b.Run("5.0 with properties", run(V5, &full))
}

func BenchmarkReadConnect(b *testing.B) {
	raw := stream(
		b,
		V5,
		&Connect{Version: V5, ClientID: "client-1", HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")},
	)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewReader(bytes.NewReader(raw), 0).ReadPacket(); err != nil {
			b.Fatal(err)
		}
	}
}
