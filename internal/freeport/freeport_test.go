package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPortIsFreeAndBelowThoseOfOutgoingConnections(t *testing.T) {
	for range 20 {
		port, err := Find(-2, 1)
		require.NoError(t, err)
		require.Greater(t, port, first-1)
		require.Less(t, port, below())
		for _, p := range []int{port - 2, port, port + 1} {
			l, err := net.Listen("tcp", at(p))
			require.NoError(t, err)
			require.NoError(t, l.Close())
			require.False(t, free(p), "it was given out")
		}
	}
}

func TestAPortWhoseNeighbourIsInUseIsNotFree(t *testing.T) {
	l, err := net.Listen("tcp", at(0))
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	inUse := l.Addr().(*net.TCPAddr).Port //nolint:forcetypeassert // it is one
	require.False(t, free(inUse-1, 1))
	require.False(t, free(inUse))
}

func TestAPortOfAnotherProcessIsNotFree(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("nothing tells of other processes here")
	}
	port := first - 1 - rand.N(1000)
	other, err := net.Listen("unix", fmt.Sprintf("@lmqgate-test-port-%d", port))
	require.NoError(t, err)
	require.False(t, free(port))
	require.NoError(t, other.Close())
	require.True(t, free(port))
}
