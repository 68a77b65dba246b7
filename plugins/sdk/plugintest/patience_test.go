package plugintest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPatienceMultipliesDeadlines(t *testing.T) {
	for text, want := range map[string]time.Duration{"": time.Second, "1": time.Second, "100": 100 * time.Second} {
		t.Setenv(PatienceVariable, text)
		p, err := patienceOfEnvironment()
		require.NoError(t, err)
		require.Equal(t, want, p.times(time.Second))
	}
	require.Equal(t, time.Second, patience(0).times(time.Second))
	for _, text := range []string{"0", "-1", "101", "2.5", "much"} {
		t.Setenv(PatienceVariable, text)
		_, err := Run(t.Context(), AuthPlugin(nil), Profile{}, Options{})
		require.ErrorContains(t, err, PatienceVariable+` is "`+text+`"; it must be a whole number from 1 to 100`)
	}
}
