package packet

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stream returns the concatenated bytes of packets.
func stream(t testing.TB, v Version, list ...Packet) []byte {
	t.Helper()
	var b []byte
	for _, p := range list {
		var err error
		b, err = Append(b, p, v)
		require.NoError(t, err)
	}
	return b
}

func TestPacketsComeOutTheSameHoweverTheBytesArrive(t *testing.T) {
	list := []Packet{&Connect{Version: V5, ClientID: "c"}}
	for i := range 300 {
		p := &Publish{Topic: "a/b", QoS: 1, PacketID: uint16(i + 1)}
		if n := i * i % 1500; n > 0 {
			p.Payload = bytes.Repeat([]byte{byte(i)}, n)
		}
		list = append(list, p, &Ack{Kind: PUBACK, PacketID: uint16(i + 1)})
	}
	list = append(list, &Publish{Topic: "big", Payload: bytes.Repeat([]byte("0123456789"), 30_000)}, &Pingreq{},
		&Publish{Topic: "bigger", Payload: bytes.Repeat([]byte("abc"), 400_000)}, &Disconnect{})
	raw := stream(t, V5, list...)
	ways := map[string]func(io.Reader) io.Reader{
		"at once":        func(r io.Reader) io.Reader { return r },
		"byte by byte":   iotest.OneByteReader,
		"halves":         iotest.HalfReader,
		"error with end": iotest.DataErrReader,
		"1000 at a time": func(r io.Reader) io.Reader { return &slow{r, 1000} },
		"512 at a time":  func(r io.Reader) io.Reader { return &slow{r, 512} },
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			r := NewReader(way(bytes.NewReader(raw)), 0)
			defer r.Release()
			for _, want := range list {
				got, err := r.ReadPacket()
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			_, err := r.ReadPacket()
			require.Equal(t, io.EOF, err)
			require.Nil(t, r.in.big)
		})
	}
}

// slow returns at most n bytes per read.
type slow struct {
	r io.Reader
	n int
}

func (s *slow) Read(b []byte) (int, error) { return s.r.Read(b[:min(len(b), s.n)]) }

func TestTheVersionIsThatOfTheConnect(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		r := NewReader(bytes.NewReader(stream(t, v, &Connect{Version: v}, &Publish{Topic: "t"})), 0)
		require.Zero(t, r.Version())
		_, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, v, r.Version())
		_, err = r.ReadPacket()
		require.NoError(t, err)
	}
}

func TestASecondConnectIsAProtocolError(t *testing.T) {
	r := NewReader(bytes.NewReader(stream(t, V5, &Connect{Version: V5}, &Connect{Version: V5})), 0)
	_, err := r.ReadPacket()
	require.NoError(t, err)
	_, err = r.ReadPacket()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, ProtocolError, e.Code)
	require.Equal(t, "MQTT-3.1.0-2", e.Statement)
}

func TestAPacketOverTheLimitIsRefusedBeforeItsBodyIsRead(t *testing.T) {
	p := &Publish{Topic: "t", Payload: make([]byte, 200)}
	whole := stream(t, V311, p)
	r := NewReader(bytes.NewReader(whole), uint32(len(whole)))
	r.SetVersion(V311)
	_, err := r.ReadPacket()
	require.NoError(t, err, "the limit itself is allowed, and counts the fixed header")

	r = NewReader(bytes.NewReader(whole[:3]), uint32(len(whole)-1))
	r.SetVersion(V311)
	_, err = r.ReadPacket()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, PacketTooLarge, e.Code)
}

func TestErrorsOfTheConnectionComeBackAsTheyAre(t *testing.T) {
	broken := errors.New("broken")
	for _, n := range []int{0, 1, 2, 5} {
		r := NewReader(io.MultiReader(bytes.NewReader(stream(t, V311, &Publish{Topic: "topic"})[:n]), iotest.ErrReader(broken)), 0)
		r.SetVersion(V311)
		_, err := r.ReadPacket()
		require.Equal(t, broken, err)
		_, err = r.ReadPacket()
		require.Equal(t, broken, err)
	}
	large := stream(t, V311, &Publish{Topic: "t", Payload: make([]byte, 100_000)})
	for _, n := range []int{10_000, 20_000, 90_000} {
		r := NewReader(io.MultiReader(bytes.NewReader(large[:n]), iotest.ErrReader(broken)), 0)
		r.SetVersion(V311)
		_, err := r.ReadPacket()
		require.Equal(t, broken, err)
		r = NewReader(bytes.NewReader(large[:n]), 0)
		r.SetVersion(V311)
		_, err = r.ReadPacket()
		require.Equal(t, io.ErrUnexpectedEOF, err)
	}
}

// noBytes returns neither bytes nor an error.
type noBytes struct{}

func (noBytes) Read([]byte) (int, error) { return 0, nil }

func TestASourceThatGivesNothingEndsTheReader(t *testing.T) {
	_, err := NewReader(noBytes{}, 0).ReadPacket()
	require.Equal(t, io.ErrNoProgress, err)
}

// watch counts the bytes that it returns and calls look before each read, which is where a Reader waits.
type watch struct {
	r     io.Reader
	given int
	look  func(given int)
}

func (w *watch) Read(b []byte) (int, error) {
	w.look(w.given)
	n, err := w.r.Read(b)
	w.given += n
	return n, err
}

func TestAReaderThatWaitsBetweenPacketsHoldsNoPooledBuffer(t *testing.T) {
	var parts []io.Reader
	ends := map[int]bool{0: true} // offsets between packets
	at := 0
	for _, size := range []int{0, 10, 506, 507, 508, 5000, 16_000, 16_371, 16_384, 50_000, 300_000, 0} {
		raw := stream(t, V311, &Publish{Topic: "t", Payload: make([]byte, size)})
		at += len(raw)
		ends[at] = true
		parts = append(parts, bytes.NewReader(raw))
	}
	// Packets of 64 bytes in a burst that fills the small buffer exactly.
	burst := bytes.Repeat(stream(t, V311, &Publish{Topic: "t", Payload: make([]byte, 59)}), 16)
	require.Len(t, burst, 1024)
	for i := range 17 {
		ends[at+i*64] = true
	}
	parts = append(parts, bytes.NewReader(burst))
	var r *Reader
	waits := 0
	r = NewReader(&watch{r: io.MultiReader(parts...), look: func(given int) {
		if ends[given] {
			waits++
			require.Nil(t, r.in.big)
			require.Len(t, r.in.buf, smallBuffer)
		}
	}}, 0)
	r.SetVersion(V311)
	for {
		if _, err := r.ReadPacket(); err != nil {
			require.Equal(t, io.EOF, err)
			break
		}
	}
	require.Greater(t, waits, len(parts))
}

func TestReleaseGivesThePooledBufferBack(t *testing.T) {
	// The second packet's start stays in the buffer, so the Reader keeps the pooled one.
	raw := stream(t, V311, &Publish{Topic: "t", Payload: make([]byte, 2000)}, &Publish{Topic: "t", Payload: make([]byte, 20)})
	r := NewReader(bytes.NewReader(raw[:len(raw)-5]), 0)
	r.SetVersion(V311)
	_, err := r.ReadPacket()
	require.NoError(t, err)
	require.NotZero(t, r.Buffered())
	require.NotNil(t, r.in.big)
	r.Release()
	require.Nil(t, r.in.big)
	require.Zero(t, r.Buffered())
	r.Release()
}

func TestAnAnnouncedBodyCostsNoMemoryUntilItArrives(t *testing.T) {
	raw := append(appendVarint([]byte{0x30}, maxVarint), make([]byte, 100_000)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r := NewReader(bytes.NewReader(raw), 0)
	r.SetVersion(V311)
	_, err := r.ReadPacket()
	runtime.ReadMemStats(&after)
	require.Equal(t, io.ErrUnexpectedEOF, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

func TestADecodedPublishKeepsItsBytesWhenTheReaderGoesOn(t *testing.T) {
	full := func(i byte) *Publish {
		return &Publish{Topic: string([]byte{'t', 'a' + i}), Payload: bytes.Repeat([]byte{i}, 100), Properties: &Properties{
			CorrelationData: []byte{i}, User: []UserProperty{{Key: string([]byte{'k', 'a' + i}), Value: "v"}}}}
	}
	var list []Packet
	for i := range 20 {
		list = append(list, full(byte(i)))
	}
	r := NewReader(bytes.NewReader(stream(t, V5, list...)), 0)
	r.SetVersion(V5)
	var got []Packet
	for range list {
		p, err := r.ReadPacket()
		require.NoError(t, err)
		got = append(got, p)
	}
	require.Equal(t, list, got)
	// Appending to a payload must not overwrite anything else.
	p := got[0].(*Publish)
	_ = append(p.Properties.CorrelationData, 0xee)
	require.Equal(t, list, got)
}

func TestReadersThatShareThePoolNeverSeeEachOthersBytes(t *testing.T) {
	var done sync.WaitGroup
	for i := range 8 {
		done.Go(func() {
			var list []Packet
			for n := range 60 {
				list = append(list, &Publish{Topic: string(rune('a' + i)), Payload: bytes.Repeat([]byte{byte(i)}, 1+n*n*20)},
					&Subscribe{PacketID: 1, Filters: []Subscription{{Filter: strings.Repeat(string(rune('a'+i)), 600)}}})
			}
			r := NewReader(&slow{bytes.NewReader(stream(t, V311, list...)), 7000 + i}, 0)
			defer r.Release()
			r.SetVersion(V311)
			for _, want := range list {
				got, err := r.ReadPacket()
				assert.NoError(t, err)
				assert.Equal(t, want, got)
			}
		})
	}
	done.Wait()
}

func TestAPaddedRemainingLengthIsReadInMQTT3(t *testing.T) {
	raw := append([]byte{0x10, 0x8d, 0x80, 0x00}, connectWire(V311, 2, text("c"))[2:]...)
	raw = append(raw, 0xc0, 0x80, 0x00)
	r := NewReader(bytes.NewReader(raw), 0)
	p, err := r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, "c", p.(*Connect).ClientID)
	p, err = r.ReadPacket()
	require.NoError(t, err)
	require.Equal(t, &Pingreq{}, p)
}

func TestLengthsAtTheStepsOfTheVariableByteInteger(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		for _, n := range []int{127, 128, 16_383, 16_384, 2_097_151, 2_097_152} {
			p := &Publish{Topic: "t", Payload: make([]byte, n-3)}
			if v == V5 {
				p.Payload = p.Payload[1:]
			}
			raw := stream(t, v, p)
			require.Len(t, raw, Size(p, v))
			require.Len(t, raw, 1+varintSize(n)+n)
			r := NewReader(bytes.NewReader(raw), 0)
			r.SetVersion(v)
			got, err := r.ReadPacket()
			require.NoError(t, err)
			require.Equal(t, p, got)
		}
	}
}

func TestPacketsThatOutgrowABufferAreReadWhole(t *testing.T) {
	s := &Subscribe{PacketID: 1}
	for i := range 9000 {
		s.Filters = append(s.Filters, Subscription{Filter: string(rune('a'+i%26)) + "/+", QoS: byte(i % 3)})
	}
	c := &Connect{Version: V5, ClientID: "c", Will: &Will{Topic: "w", Payload: bytes.Repeat([]byte("w"), 60_000)}}
	r := NewReader(bytes.NewReader(stream(t, V5, c, s, &Pingreq{})), 0)
	for _, want := range []Packet{c, s, &Pingreq{}} {
		got, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestTheLimitCanChangeAndIsTheClientsToo(t *testing.T) {
	r := NewReader(bytes.NewReader(stream(t, V5, &Pingresp{}, &Publish{Topic: "topic"})), 2)
	r.Client = true
	r.SetVersion(V5)
	_, err := r.ReadPacket()
	require.NoError(t, err)
	r.SetMaxPacketSize(9)
	_, err = r.ReadPacket()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, PacketTooLarge, e.Code)
	require.Equal(t, "MQTT-3.1.2-24", e.Statement)
}

func TestBufferedCountsWhatArrivedAndIsNotDecoded(t *testing.T) {
	r := NewReader(bytes.NewReader(stream(t, V311, &Pingreq{}, &Pingreq{}, &Disconnect{})), 0)
	r.SetVersion(V311)
	require.Zero(t, r.Buffered())
	for _, left := range []int{4, 2, 0} {
		_, err := r.ReadPacket()
		require.NoError(t, err)
		require.Equal(t, left, r.Buffered())
	}
}
