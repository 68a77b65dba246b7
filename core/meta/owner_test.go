package meta

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARecordKeepsWhoseTheSessionIs(t *testing.T) {
	s := &Session{Attributes: map[string]string{"p2p_start": "{}"}}
	require.False(t, s.Owner().Known(), "a record from before owners were")
	ops := Owner{Name: "ops \u20ac", Plugin: "auth-file"}
	s.SetOwner(ops)
	require.Equal(t, ops, s.Owner())
	require.Equal(t, ops, s.Clone().Owner())
	s.SetOwner(Owner{})
	require.Equal(t, map[string]string{"p2p_start": "{}"}, s.Attributes, "nobody's")
	s.Attributes["owner"] = "nonsense"
	require.False(t, s.Owner().Known())
	(&Session{}).SetOwner(Owner{})
}

func TestTheSameIdentityIsTheSameWhicheverPluginAdmitsIt(t *testing.T) {
	ops := Owner{Name: "ops", Plugin: "auth-file"}
	for _, tc := range []struct {
		other Owner
		same  bool
	}{
		{ops, true},
		{Owner{Name: "ops", Plugin: "auth-jwt"}, true},
		{Owner{Name: "tenantb", Plugin: "auth-file"}, false},
		{Owner{Plugin: "auth-file"}, false},
		{Owner{Name: "ops"}, false}, // not admitted by any plugin
		{Owner{}, false},
	} {
		require.Equal(t, tc.same, ops.Same(tc.other), "%+v", tc.other)
	}
}
