package repeat

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALineIsDueAtOnceAndThenNowAndThenWithACount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Line
		told := []int{}
		for range 250 {
			if n, due := l.Due(10 * time.Second); due {
				told = append(told, n)
			}
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, []int{1, 100, 100}, told)
	})
}
