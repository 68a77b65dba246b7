package local

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

func TestABatchOfWhichARecordFailedFails(t *testing.T) {
	failed := errors.New("deleted")
	for at := range 3 {
		var n int
		var err error
		calls := 0
		b := &batchAnswer{left: 3, n: 3, done: func(k int, _ store.Position, e error) { n, err, calls = k, e, calls+1 }}
		for i := range 3 {
			if i == at {
				b.one(store.Position{}, failed)
				continue
			}
			b.one(store.Position{}, nil)
		}
		require.Equal(t, 1, calls)
		require.Equal(t, 3, n)
		require.ErrorIs(t, err, failed)
	}
}
