package packet

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPacketHasABoundedNumberOfUserProperties(t *testing.T) {
	read := func(n int) error {
		p := &Publish{Topic: "T", Properties: &Properties{User: make([]UserProperty, n)}}
		wire, err := Append(nil, p, V5)
		require.NoError(t, err)
		r := NewReader(bytes.NewReader(wire), 1<<20)
		r.SetVersion(V5)
		_, err = r.ReadPacket()
		return err
	}
	require.NoError(t, read(MaxUserProperties))
	var bad *Error
	require.ErrorAs(t, read(MaxUserProperties+1), &bad)
	require.Equal(t, QuotaExceeded, bad.Code)
	require.Contains(t, bad.Reason, "more than 1024 user properties")
}
