package auth

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheCachedDecisionsAboutAClientTakeBoundedMemory(t *testing.T) {
	var c cache
	later := int64(time.Hour)
	short := Action{Kind: Publish, Topic: "t/short"}
	c.put(short, false, cached{later, true}, 1, 0)
	for i := range 1000 {
		for _, length := range []int{10, 1000, 8000} {
			a := Action{Kind: Subscribe, Topic: fmt.Sprintf("t/%d/%s", i, strings.Repeat("x", length)), ShareGroup: "group"}
			c.put(a, i%2 == 0, cached{later, true}, 1, 0)
			d, found := c.get(a, 1)
			require.True(t, found && d.allow, "the newest decision is kept")
			total := 0
			for k := range c.entries {
				total += k.bytes()
			}
			require.Equal(t, total, c.bytes)
			require.LessOrEqual(t, total, cacheBytes)
			require.LessOrEqual(t, len(c.entries), cacheTopics)
		}
	}
	_, found := c.get(short, 2)
	require.False(t, found)
	require.Zero(t, c.bytes)
}
