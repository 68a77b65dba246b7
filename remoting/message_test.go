package remoting

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/stretchr/testify/require"
)

// stored encodes a message in the form of the commit log.
func stored(m Message, v2 bool, body []byte) []byte {
	magic := uint32(magicV1)
	if v2 {
		magic = magicV2
	}
	be := binary.BigEndian
	b := be.AppendUint32(make([]byte, 4), magic)
	b = be.AppendUint32(b, 0)
	b = be.AppendUint32(b, uint32(m.Queue))
	b = be.AppendUint32(b, uint32(m.Flag))
	b = be.AppendUint64(b, uint64(m.QueueOffset))
	b = be.AppendUint64(b, uint64(m.LogOffset))
	b = be.AppendUint32(b, uint32(m.SysFlag))
	b = be.AppendUint64(b, uint64(m.BornTime))
	b = append(b, m.BornHost.Addr().AsSlice()...)
	b = be.AppendUint32(b, uint32(m.BornHost.Port()))
	b = be.AppendUint64(b, uint64(m.StoreTime))
	b = append(b, m.StoreHost.Addr().AsSlice()...)
	b = be.AppendUint32(b, uint32(m.StoreHost.Port()))
	b = be.AppendUint32(b, uint32(m.ReconsumeTimes))
	b = be.AppendUint64(b, 0)
	b = be.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	if v2 {
		b = be.AppendUint16(b, uint16(len(m.Topic)))
	} else {
		b = append(b, byte(len(m.Topic)))
	}
	b = append(b, m.Topic...)
	b = be.AppendUint16(b, uint16(len(m.Properties)))
	b = append(b, m.Properties...)
	be.PutUint32(b, uint32(len(b)))
	return b
}

func sample() Message {
	return Message{
		Topic: "T", Queue: 3, QueueOffset: 1 << 40, LogOffset: 1 << 41, Flag: 7, BornTime: 1700000000001, StoreTime: 1700000000002,
		BornHost: netip.MustParseAddrPort("10.0.0.1:1234"), StoreHost: netip.MustParseAddrPort("10.0.0.2:10911"),
		ReconsumeTimes: 2, Properties: "a\x01b\x02c\x01d\x02", Body: []byte("hello"),
	}
}

func TestStoredMessagesAreRead(t *testing.T) {
	plain := sample()
	v6 := sample()
	v6.SysFlag = sysFlagBornHostV6 | sysFlagStoreHostV6
	v6.BornHost, v6.StoreHost = netip.MustParseAddrPort("[2001:db8::1]:1"), netip.MustParseAddrPort("[2001:db8::2]:2")
	long := sample()
	long.Topic = strings.Repeat("x", 300)
	var all []byte
	all = append(all, stored(plain, false, plain.Body)...)
	all = append(all, stored(v6, false, v6.Body)...)
	all = append(all, stored(long, true, long.Body)...)
	got, err := DecodeMessages(all)
	require.NoError(t, err)
	require.Equal(t, []Message{plain, v6, long}, got)
	require.Equal(t, "d", got[0].Property("c"))
	require.Empty(t, got[0].Property("x"))
}

// compressed returns a body in each compressed form, by name.
func compressed(t *testing.T, body []byte) map[string]Message {
	t.Helper()
	var z, l bytes.Buffer
	zw := zlib.NewWriter(&z)
	_, _ = zw.Write(body)
	require.NoError(t, zw.Close())
	lw := lz4.NewWriter(&l)
	_, _ = lw.Write(body)
	require.NoError(t, lw.Close())
	enc, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	zs := enc.EncodeAll(body, nil)
	require.NoError(t, enc.Close())
	return map[string]Message{
		"zlib of old clients": {SysFlag: sysFlagCompressed, Body: z.Bytes()},
		"zlib":                {SysFlag: sysFlagCompressed | sysFlagCodecZLIB, Body: z.Bytes()},
		"lz4":                 {SysFlag: sysFlagCompressed | sysFlagCodecLZ4, Body: l.Bytes()},
		"zstd":                {SysFlag: sysFlagCompressed | sysFlagCodecZSTD, Body: zs},
	}
}

func TestCompressedBodiesAreRead(t *testing.T) {
	body := []byte(strings.Repeat("compress me ", 1000))
	for name, c := range compressed(t, body) {
		t.Run(name, func(t *testing.T) {
			m := sample()
			m.SysFlag = c.SysFlag
			got, err := DecodeMessages(stored(m, false, c.Body))
			require.NoError(t, err)
			read, err := got[0].Inflate(int64(len(body)))
			require.NoError(t, err)
			require.Equal(t, body, read)

			got, err = DecodeMessages(stored(m, false, []byte("not compressed at all")))
			require.NoError(t, err, "one unreadable body does not spoil the others of a pull")
			_, err = got[0].Inflate(1 << 20)
			require.ErrorIs(t, err, ErrMalformed)
		})
	}
}

func TestABodyThatInflatesToTooMuchIsRefusedWithinBoundedMemory(t *testing.T) {
	const limit = 1 << 20
	for name, over := range map[string]int{"one byte over": limit + 1, "16 MiB": 16 << 20} {
		for codec, m := range compressed(t, make([]byte, over)) {
			t.Run(codec+", "+name, func(t *testing.T) {
				_, err := m.Inflate(limit)
				require.ErrorIs(t, err, ErrInflated)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				_, _ = m.Inflate(limit)
				runtime.ReadMemStats(&after)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(24<<20), "allocated for a body of %d bytes", len(m.Body))
			})
		}
	}
}

func TestMessagesBeforeAFaultAreReturned(t *testing.T) {
	m := sample()
	good := stored(m, false, m.Body)
	for name, bad := range map[string][]byte{
		"cut off": good[:len(good)-1], "size too large": {0x7f, 0, 0, 0}, "size negative": {0xff, 0, 0, 0},
		"size zero": {0, 0, 0, 0}, "too short": {0, 0, 0, 8, 1, 2, 3, 4}, "three bytes": {0, 0, 0},
	} {
		got, err := DecodeMessages(append(bytes.Clone(good), bad...))
		require.ErrorIs(t, err, ErrMalformed, name)
		require.Len(t, got, 1, name)
	}
}

func TestPropertiesSurviveTheirCodec(t *testing.T) {
	var b []byte
	b = AppendProperty(b, "k", "v")
	b = AppendProperty(b, "empty", "")
	require.Len(t, b, PropertySize("k", "v")+PropertySize("empty", ""))
	got := map[string]string{}
	EachProperty(string(b)+"no separator\x02\x01no name\x02", func(k, v string) bool { got[k] = v; return true })
	require.Equal(t, map[string]string{"k": "v", "empty": ""}, got)
	require.True(t, PlainProperty("a,b"))
	require.False(t, PlainProperty("a\x02"))
}

func TestAMessageIDHoldsTheLogOffset(t *testing.T) {
	n, err := LogOffset("0A00000100002A9F00000000000003E8")
	require.NoError(t, err)
	require.Equal(t, int64(1000), n)
	_, err = LogOffset("short")
	require.ErrorIs(t, err, ErrMalformed)
	_, err = LogOffset(strings.Repeat("z", 32))
	require.ErrorIs(t, err, ErrMalformed)
}

func FuzzDecodeMessages(f *testing.F) {
	m := sample()
	f.Add(stored(m, false, m.Body))
	f.Add(stored(m, true, m.Body))
	m.SysFlag = sysFlagCompressed | sysFlagCodecLZ4
	f.Add(stored(m, false, []byte{4, 34, 77, 24}))
	m.SysFlag = sysFlagCompressed | sysFlagCodecZSTD
	f.Add(stored(m, false, []byte{0x28, 0xb5, 0x2f, 0xfd}))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeMessages(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
		}
		for i := range got {
			got[i].Property("x")
			if body, err := got[i].Inflate(1 << 16); err == nil && got[i].Compressed() {
				require.LessOrEqual(t, len(body), 1<<16)
			}
		}
	})
}
