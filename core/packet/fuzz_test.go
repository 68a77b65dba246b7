package packet

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet/packettest"
)

func fuzzSeeds(f *testing.F) {
	for _, c := range good {
		f.Add(c.bytes, byte(c.v), c.client)
	}
	for _, c := range packettest.Refusals {
		v := c.Version
		if c.From == packettest.First {
			v = 0
		}
		f.Add(c.Bytes, v, c.From == packettest.FromServer)
	}
	for _, v := range []Version{V31, V311, V5} {
		for _, p := range samples(v) {
			b, err := Append(nil, p, v)
			require.NoError(f, err)
			f.Add(b, byte(v), readerFor(nil, p, v).Client)
		}
	}
}

// FuzzReadPacket checks that any input yields packets or an error of the documented kind, and that decoded packets survive a round trip
// through encoder and decoder.
func FuzzReadPacket(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, v byte, client bool) {
		r := NewReader(bytes.NewReader(data), 1<<20)
		defer r.Release()
		if v >= 3 && v <= 5 {
			r.SetVersion(Version(v))
		}
		r.Client = client
		for {
			p, err := r.ReadPacket()
			if err != nil {
				require.Nil(t, p)
				var e *Error
				if !errors.As(err, &e) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("unexpected error %v", err)
				}
				return
			}
			b, err := Append(nil, p, r.Version())
			require.NoError(t, err, "%#v", p)
			require.Len(t, b, Size(p, r.Version()))
			again := NewReader(bytes.NewReader(b), 0)
			again.SetVersion(r.Version())
			again.Client = client
			q, err := again.ReadPacket()
			require.NoError(t, err, "% x", b)
			require.Equal(t, p, q)
			c, err := Append(nil, q, r.Version())
			require.NoError(t, err)
			require.Equal(t, b, c)
		}
	})
}

// FuzzArrival checks that the result does not depend on how the bytes are split into reads.
func FuzzArrival(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, data []byte, v byte, client bool) {
		whole := NewReader(bytes.NewReader(data), 1<<20)
		cut := NewReader(&slow{bytes.NewReader(data), 1 + len(data)%7}, 1<<20)
		for _, r := range []*Reader{whole, cut} {
			r.Client = client
			if v >= 3 && v <= 5 {
				r.SetVersion(Version(v))
			}
		}
		for {
			p, err := whole.ReadPacket()
			q, err2 := cut.ReadPacket()
			require.Equal(t, err, err2)
			require.Equal(t, p, q)
			if err != nil {
				return
			}
		}
	})
}
