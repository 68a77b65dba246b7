package freeport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAPortIsFreeAndBelowThoseOfOutgoingConnections(t *testing.T) {
	for range 20 {
		port, err := Find(-2, 1)
		require.NoError(t, err)
		require.Greater(t, port, first-1)
		require.Less(t, port, below())
		require.True(t, free(port, -2, 1))
	}
}

func TestAPortWhoseNeighbourIsTakenIsNotFree(t *testing.T) {
	port, err := Find(1)
	require.NoError(t, err)
	l, err := net.Listen("tcp", at(port+1))
	require.NoError(t, err)
	require.False(t, free(port, 1))
	require.NoError(t, l.Close())
	require.True(t, free(port, 1))
}
