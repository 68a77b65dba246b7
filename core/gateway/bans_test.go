package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/admin"
)

func TestBansKnowAddressesAsConnectionsDo(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/32": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1": "2001:db8::/64", "2001:db8::/64": "2001:db8::/64",
	} {
		got, err := banned(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got.String())
	}
	for _, text := range []string{"", "x", "192.0.2.0/24", "2001:db8::/32"} {
		_, err := banned(text)
		require.ErrorIs(t, err, admin.ErrInvalid, text)
	}
}
