package catalog

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

func TestRefusedNamesAreBoundedByCountBytesAndTime(t *testing.T) {
	cases := []struct {
		name string
		size int // of each name, in bytes
		n    int
	}{
		{"many short names", 8, 3 * maxRefused},
		{"long names", 8 << 10, 1000},
		{"a name as long as MQTT allows", 65535, 100},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace()
				c := newCatalog(p, Options{})
				name := func(i int) string { return strings.Repeat("x", tc.size-6) + fmt.Sprintf("%06d", i) }
				for i := range tc.n {
					_, err := c.Ensure(t.Context(), name(i), client)
					require.ErrorIs(t, err, store.ErrUnknownTopic)
					require.LessOrEqual(t, len(c.refused.names), maxRefused)
					require.LessOrEqual(t, c.refused.bytes, maxRefusedBytes)
				}
				require.NotEmpty(t, c.refused.names)
				require.Error(t, c.refused.get(name(tc.n-1)), "the newest is kept")
				require.NoError(t, c.refused.get(name(0)), "the oldest goes first")
				time.Sleep(refusedFor)
				_, err := c.Ensure(t.Context(), "one more", client)
				require.ErrorIs(t, err, store.ErrUnknownTopic)
				require.Len(t, c.refused.names, 1, "what is over is dropped")
				require.Len(t, c.refused.queue, 1)
			})
		})
	}
}

func TestANameThatIsRefusedAgainIsKeptFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r refused
		r.add("a", store.ErrUnknownTopic)
		time.Sleep(refusedFor / 2)
		r.add("a", store.ErrInvalidTopic)
		time.Sleep(refusedFor / 2)
		r.add("b", store.ErrUnknownTopic)
		require.ErrorIs(t, r.get("a"), store.ErrInvalidTopic)
	})
}

func TestNamesForTheFallbackAreNotRemembered(t *testing.T) {
	p := newPlace("rest")
	c := newCatalog(p, Options{Fallback: "rest"})
	for i := range 1000 {
		got, err := c.Ensure(t.Context(), fmt.Sprintf("a.%d", i), client)
		require.NoError(t, err)
		require.Equal(t, "rest", got)
	}
	require.EqualValues(t, 1, c.known.count.Load())
	asked, _ := p.counts()
	require.Equal(t, 1, asked)
}

func TestKnownTopicsAreBounded(t *testing.T) {
	var k known
	for i := range maxKnown + 100 {
		k.put(fmt.Sprint("t", i))
	}
	require.EqualValues(t, maxKnown, k.count.Load())
	n := 0
	k.topics.Range(func(any, any) bool { n++; return true })
	require.Equal(t, maxKnown, n)
	require.NotNil(t, k.get(fmt.Sprint("t", maxKnown+99)), "the new one is kept")
}

func TestTopicsComeAndGoFromManyGoroutines(t *testing.T) {
	p := newPlace("sensors")
	c := newCatalog(p, Options{AutoCreate: true, Fallback: "rest"})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				name := fmt.Sprint("t", i%7)
				_, err := c.Ensure(t.Context(), name, client)
				require.NoError(t, err)
				_, err = c.Physical(t.Context(), "a."+name+"/x", client)
				require.NoError(t, err)
				_, _ = c.Resolve(name)
				if g == 0 {
					_ = c.Delete(t.Context(), name)
					_ = c.Changed(t.Context())
				}
				c.Forget(name)
			}
		})
	}
	wg.Wait()
	require.GreaterOrEqual(t, c.known.count.Load(), int64(0))
}
