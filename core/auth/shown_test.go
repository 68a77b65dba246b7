package auth

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAUserNameThatIsATokenIsNotShown(t *testing.T) {
	for name, want := range map[string]string{
		"demo": "demo", "": "", "a.b.c": "a.b.c", "eyJ": "eyJ", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl": "(a token)", "eyJ..": "(a token)",
	} {
		require.Equal(t, want, Shown(name))
	}
}
