package delivery

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestABoundedNumberOfNewViewsIsComparedWithTheStoreAtATimeAndNoneIsLeftOut(t *testing.T) {
	u := line{most: verifyMost}
	views := make([]*queueView, 10*verifyMost)
	var seen []*queueView
	for i := range views {
		views[i] = &queueView{}
		if v := u.join(views[i]); v != nil {
			seen = append(seen, v)
		}
	}
	require.Len(t, seen, verifyMost, "each of them is a goroutine")
	for v := u.next(); v != nil; v = u.next() {
		seen = append(seen, v)
	}
	require.Equal(t, views, seen)
	for range verifyMost - 1 {
		require.Nil(t, u.next())
	}
	require.Same(t, views[0], u.join(views[0]), "all have ended, so who comes goes on at once")
}
