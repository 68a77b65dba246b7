package local

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
)

// waiting makes a queue with waiting appends. Each word is a publisher's name and the size of its append in KiB, as in "a1024"; "|" is a
// barrier.
func waiting(words string) *appendQueue {
	q := &appendQueue{wake: make(chan struct{}, 1)}
	n := map[byte]int{}
	for word := range strings.FieldsSeq(words) {
		op := new(appendOp)
		if word != "|" {
			kib := 0
			_, _ = fmt.Sscan(word[1:], &kib)
			n[word[0]]++
			op = one(word[:1], fmt.Sprint(word[:1], n[word[0]]), kib<<10)
		}
		q.push(op)
	}
	return q
}

func fast() bool { return false }

func slow() bool { return true }

// taken returns the words for what take returns.
func taken(q *appendQueue, pressed func() bool) string {
	ops, _, _ := q.take(nil, pressed)
	var words []string
	for _, op := range ops {
		if op.topic == nil {
			words = append(words, "|")
		} else {
			words = append(words, op.msg.Topic)
		}
	}
	return strings.Join(words, " ")
}

func TestPublishersShareAGroupCommitOnceMoreWaitsThanItTakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		waits string
		takes []string // the result of each call of take
	}{
		"what fits leaves at once":           {"a1000 b20 a1000 c20", []string{"b1 c1 a1 a2"}},
		"a flood delays itself":              {"a990 a990 a990 a990 b20 c20 b20", []string{"b1 c1 b2 a1 a2", "a3 a4"}},
		"two floods have the same":           {"a500 a500 a500 a500 a500 b500 b500", []string{"a1 b1 a2 b2", "a3 a4 a5"}},
		"what is too large leaves alone":     {"a3000 b20 b20", []string{"b1 b2", "a1"}},
		"a large one does not wait for ever": {"b20 a1900 b400 b400 b400 b400", []string{"b1 b2 b3 b4 b5", "a1"}},
		"a barrier is behind what came before it, and before the rest": {
			"a1000 a1000 a1000 | b20 b20", []string{"a1 a2", "a3", "| b1 b2"},
		},
		"what came before a barrier leaves before it": {"a20 | a1000 a1000 a1000 b20", []string{"a1", "|", "b1 a2 a3", "a4"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := waiting(c.waits)
			for _, want := range c.takes {
				require.Equal(t, want, taken(q, fast))
			}
			require.Empty(t, q.ops)
			require.Zero(t, q.bytes)
		})
	}
}

// one is an append of a publisher.
func one(publisher, name string, size int) *appendOp {
	return &appendOp{topic: new(topicState), size: size, from: publisher, msg: &store.Message{Publisher: publisher, Topic: name}}
}

func TestWhoSendsMuchWaitsForTheDiskAndWhoSendsLittleDoesNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := waiting("a1000 b5 a1000 a100 a100 a100 c10 b5")
		require.Equal(t, "b1 b2 c1", taken(q, fast), "what is little comes first")
		require.Equal(t, "a1", taken(q, fast), "then a group of what is much, which is larger than its bound only with one append")
		begin := time.Now()
		next := make(chan string, 1)
		go func() { next <- taken(q, fast) }()
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, next, "one heavy group is under way at a time")
		q.push(one("c", "c2", 1))
		require.Equal(t, "c2", <-next)
		q.landed()
		require.Equal(t, "a2", taken(q, fast))
		require.Equal(t, 40*time.Millisecond, time.Since(begin), "the disk rested for as long as the group took")
		q.landed()
		q.push(one("b", "b3", 1))
		require.Equal(t, "b3", taken(q, fast))
		require.Equal(t, "a3 a4", taken(q, fast), "a group is small")
		q.landed()
		require.Equal(t, "a5", taken(q, fast))
		require.Zero(t, q.bytes)
		require.True(t, q.sorted.empty())
	})
}

func TestManyPublishersOfOneIdentityAreAFloodTogether(t *testing.T) {
	t.Parallel()
	q := waiting("")
	for i := range 100 {
		for range 2 {
			op := one(fmt.Sprint("evil", i), fmt.Sprint("e", i), 14<<10)
			op.from = "evil"
			q.push(op)
		}
	}
	honest := one("honest", "h", 100)
	honest.from = "honest"
	q.push(honest)
	require.Equal(t, "h", taken(q, fast))
	require.Len(t, strings.Fields(taken(q, fast)), heavyBytes/(14<<10))
	q.push(one("honest", "h", 100))
	require.Equal(t, "h", taken(q, fast), "while a group is under way")

	q = waiting("a1000")
	for i := range 100 {
		op := one(fmt.Sprint("evil", i), "e", 14<<10)
		op.from = "evil"
		q.push(op)
	}
	q.push(honest)
	require.Equal(t, "e e e e e h", taken(q, fast), "what its publishers send little of is bounded for an identity, too")

	q = waiting("")
	for i := range 100 {
		q.push(one(fmt.Sprint("p", i), "p", 14<<10))
	}
	require.Len(t, strings.Fields(taken(q, fast)), 100, "publishers that are nobody's together are no flood")
}

func TestWhateverWaitsLeavesOnceAndInOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			q := waiting("")
			var all, came int
			next := map[string]int{} // by publisher
			last := map[string]int{}
			var before []int // how many came before each barrier
			take := func() {
				ops, heavy, _ := q.take(nil, func() bool { return r.IntN(4) == 0 })
				for _, op := range ops {
					if op.topic == nil {
						require.Equal(t, before[0], came, "nothing passes a barrier")
						before = before[1:]
						continue
					}
					n := 0
					_, _ = fmt.Sscan(op.msg.Topic, &n)
					last[op.msg.Publisher]++
					require.Equal(t, last[op.msg.Publisher], n, "in order")
					came++
				}
				if heavy {
					time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
					q.landed()
				}
			}
			for range 300 {
				for range r.IntN(40) {
					if r.IntN(200) == 0 {
						q.push(new(appendOp))
						before = append(before, all)
						continue
					}
					publisher := fmt.Sprint("p", r.IntN(12))
					next[publisher]++
					op := one(publisher, fmt.Sprint(next[publisher]), 1<<r.IntN(21))
					op.from = fmt.Sprint("i", r.IntN(3))
					q.push(op)
					all++
				}
				if r.IntN(3) > 0 && len(q.ops) > 0 {
					take()
				}
			}
			for len(q.ops) > 0 || !q.sorted.empty() {
				take()
			}
			require.Equal(t, all, came)
			require.Zero(t, q.bytes)
			require.Equal(t, backlog{lines: q.sorted.lines, from: q.sorted.from, turn: q.sorted.turn}, q.sorted, "nobody is counted any more")
			require.Empty(t, q.sorted.lines)
			require.Empty(t, q.sorted.from)
		})
	}
}

func TestAFloodOfManyIsNoReasonToWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		q := waiting("a900 b900")
		for i := range 20 {
			taken(q, fast)
			q.push(one("b", "b", 900<<10), one("a", "a", 10<<10))
			if i%2 == 0 {
				q.push(one("a", "a", 900<<10))
			}
		}
		require.Zero(t, time.Since(begin), "at times a has little to send, but it sends much")
	})
}

func TestOnlyWhatIsLittleLeavesWhileTheDiskIsSlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		slow.Store(true)
		q := waiting("a1000 b5 a1 b5 c10 | d1")
		require.Equal(t, "b1 b2 c1", taken(q, slow.Load))

		begin := time.Now()
		require.Equal(t, "a1 a2", taken(q, slow.Load))
		require.Equal(t, heldMost, time.Since(begin), "nothing waits for ever")
		require.Equal(t, "| d1", taken(q, slow.Load), "nothing passes a barrier")

		q.push(one("a", "a3", 1<<20), one("c", "c2", 1))
		require.Equal(t, "c2", taken(q, slow.Load))
		next := make(chan string, 1)
		go func() { next <- taken(q, slow.Load) }()
		synctest.Wait()
		require.Empty(t, next)
		q.push(one("b", "b3", 1))
		require.Equal(t, "b3", <-next, "a light one that comes later passes")
		go func() { next <- taken(q, slow.Load) }()
		synctest.Wait()
		slow.Store(false)
		q.look()
		require.Equal(t, "a3", <-next, "the disk has caught up")
		require.Zero(t, q.bytes)
	})
}

func TestABarrierLeavesWhileTheDiskIsSlow(t *testing.T) {
	t.Parallel()
	q := waiting("| a1000 b1")
	require.Equal(t, "|", taken(q, slow))
	require.Equal(t, "b1", taken(q, slow))
	q = waiting("a1000 b1 | c1 a1000")
	require.Equal(t, "b1", taken(q, slow), "nothing passes it")
}

func TestHeavyAppendsLeaveOnceASecondHoweverManyLightOnesCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q, left := waiting("a1000 a1000 a1000 a1000 b1"), 0
		for begin := time.Now(); time.Since(begin) < 3*heldMost; time.Sleep(heldMost / 100) {
			if strings.Contains(taken(q, slow), "a") {
				left++
				require.GreaterOrEqual(t, time.Since(begin), time.Duration(left)*heldMost)
			}
			q.push(one("b", "b", 1))
		}
		require.Equal(t, 2, left)
	})
}

func TestNothingIsHeldBackWhereNobodySendsLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		require.Equal(t, "a1 a2", taken(waiting("a10 a1000"), slow))
		require.Equal(t, "a1 b1", taken(waiting("a1000 b1000"), slow))
		require.Zero(t, time.Since(begin))

		q := waiting("a1000 b1")
		require.Equal(t, "b1", taken(q, slow))
		time.Sleep(heldMost / 2)
		require.Equal(t, "a1", taken(q, slow))
		require.Equal(t, heldMost, time.Since(begin), "it has waited since the light one left")
	})
}

func TestAStoreThatIsNotPressedHoldsNothingBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, Options{Path: "mem", fs: vfs.NewMem(), Sync: SyncInterval, SyncInterval: time.Hour})
		require.NoError(t, s.CreateTopic(t.Context(), "T", 1))
		begin := time.Now()
		for range 12 { // the memtables grow from 256 KiB to 8 MiB meanwhile
			_, err := put(s, strings.Repeat("x", 1<<20))
			require.NoError(t, err)
			synctest.Wait() // pebble has written what it wants to write
		}
		require.Less(t, time.Since(begin), heldMost)
	})
}
