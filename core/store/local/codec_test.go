package local

import (
	"strings"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/stretchr/testify/require"
)

func encoded(r *store.Record, partition uint64) []byte {
	b := appendHead(nil, head{time: r.Position.Time, partition: partition, offset: r.Position.Offset})
	return appendMessage(appendEntries(b, r.Entries), &r.Message)
}

func sampleRecords() []*store.Record {
	return []*store.Record{
		{},
		{Message: store.Message{Topic: "T/a", Payload: []byte("x"), QoS: 1, Publisher: "p", Created: time.UnixMilli(1)}},
		{
			Message: store.Message{
				Topic:     "T/ü",
				QoS:       2,
				Retain:    true,
				Publisher: strings.Repeat("p", 300),
				Created:   time.UnixMilli(-5),
				Expires:   time.UnixMilli(1 << 41),
				Properties: &store.Properties{
					PayloadFormat: 1, HasFormat: true, ContentType: "c", ResponseTopic: "r", CorrelationData: []byte{0},
					User: []store.UserProperty{{Key: "a", Value: "b"}, {}},
				},
			},
			Position: store.Position{Offset: 1 << 40, Time: 1 << 41},
			Entries:  []store.Entry{{Queue: "T%ü%", Offset: 3}, {Queue: "T%#%", Offset: 1 << 50}},
		},
		{Message: store.Message{Topic: "T", Properties: &store.Properties{}}},
		{Message: store.Message{Topic: "T", QoS: 2, Exchange: "1-2-3-4", Payload: []byte("x")}},
	}
}

func TestRecordsAreDecodedAsTheyWereEncoded(t *testing.T) {
	for _, want := range sampleRecords() {
		got, h, err := decodeRecord(encoded(want, 7))
		require.NoError(t, err)
		require.Equal(t, uint64(7), h.partition)
		require.Equal(t, want, got)
	}
}

func TestTruncatedRecordsAreRefused(t *testing.T) {
	full := encoded(sampleRecords()[2], 7) // this sample has no payload, so every byte counts
	for n := range full {
		_, _, err := decodeRecord(full[:n])
		require.ErrorIs(t, err, errCorrupt, "%d of %d bytes", n, len(full))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range sampleRecords() {
		f.Add(encoded(r, 1))
	}
	f.Add([]byte{recordVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, h, err := decodeRecord(b)
		if err != nil {
			require.ErrorIs(t, err, errCorrupt)
			return
		}
		again, h2, err := decodeRecord(encoded(r, h.partition))
		require.NoError(t, err)
		require.Equal(t, h, h2)
		require.Equal(t, r, again)
	})
}
