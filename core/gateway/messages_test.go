package gateway

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/admin"
)

func TestPropertiesThatMQTTForbidsAreRefused(t *testing.T) {
	long := strings.Repeat("x", 65536)
	for name, m := range map[string]admin.Message{
		"a response topic with a wildcard": {ResponseTopic: "a/#"},
		"a content type that is too long":  {ContentType: long},
		"a content type with U+0000":       {ContentType: "a\x00"},
		"correlation data too long":        {CorrelationData: []byte(long)},
		"a property's name":                {User: [][2]string{{long, ""}}},
		"a property's value":               {User: [][2]string{{"a", "b\x00"}}},
	} {
		require.ErrorIs(t, validProperties(&m), admin.ErrInvalid, name)
	}
	require.NoError(t, validProperties(&admin.Message{ContentType: long[1:], ResponseTopic: "a/b", CorrelationData: []byte{0},
		User: [][2]string{{"", ""}, {"a", long[1:]}}}))
}
