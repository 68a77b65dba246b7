package gateway

import (
	"testing"
	"time"

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

func TestABanOfSeveralNodesIsListedOnce(t *testing.T) {
	soon, late := time.Unix(100, 0), time.Unix(200, 0)
	ban := func(name string, until time.Time, nodes ...string) admin.Ban {
		return admin.Ban{Kind: "client", Name: name, Until: until, Nodes: nodes}
	}
	parts := []part[admin.Ban]{
		{Items: []admin.Ban{ban("a", soon, "one"), ban("c", soon, "one")}},
		{Items: []admin.Ban{ban("a", late, "two"), ban("b", soon, "two")}, Next: "client/b"},
	}
	page := mergeBans(admin.Page{Limit: 10}, parts)
	require.Equal(t, []admin.Ban{ban("a", late, "one", "two"), ban("b", soon, "two")}, page.Items, "c comes after what the second node told")
	require.Equal(t, "client/b", page.Next)
	page = mergeBans(admin.Page{Limit: 1}, parts)
	require.Equal(t, []admin.Ban{ban("a", late, "one", "two")}, page.Items)
	require.Equal(t, "client/a", page.Next)
}
