package limits

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// takeAll asks for the given bytes, one after the other, and adds to got what is granted.
func takeAll(t *testing.T, b *Budget, got *[]int64, bytes ...int64) {
	t.Helper()
	for _, n := range bytes {
		go func() {
			if b.Take(t.Context(), "", n) == nil {
				*got = append(*got, n)
			}
		}()
		synctest.Wait()
	}
}

func TestABudgetGrantsInTheOrderOfTheQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, nil)
		require.True(t, b.Try(90))
		var got []int64
		takeAll(t, b, &got, 60, 5) // the one that asks for less does not overtake the other
		require.False(t, b.Try(1), "others wait")
		require.Empty(t, got)
		b.Give(30)
		synctest.Wait()
		require.Empty(t, got)
		b.Give(20)
		synctest.Wait()
		require.Equal(t, []int64{60}, got)
		b.Give(40)
		synctest.Wait()
		require.Equal(t, []int64{60, 5}, got)
		require.Equal(t, int64(65), b.Used())
	})
}

func TestLargeRequestsLeaveRoomForSmallOnes(t *testing.T) {
	b := NewBudget(8<<20, nil)
	for range 7 {
		require.True(t, b.Try(1<<20))
	}
	require.False(t, b.Try(1<<20), "the last part is for small ones")
	require.False(t, b.Try(smallRequest+1))
	for range 1 << 20 / smallRequest {
		require.True(t, b.Try(smallRequest))
	}
	require.False(t, b.Try(1), "it is full")
}

func TestSmallRequestsPassALargeOneUntilItIsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(8<<20, nil)
		require.True(t, b.Try(7<<20))
		var large atomic.Bool
		go func() { large.Store(b.Take(t.Context(), "", 1<<20) == nil) }()
		synctest.Wait()
		for i := range 1 << 20 / smallRequest {
			require.True(t, b.Try(smallRequest), i)
			b.Give(smallRequest)
		}
		require.False(t, b.Try(1), "as much has passed the large one as it wants itself")
		require.False(t, large.Load())
		b.Give(1 << 20)
		synctest.Wait()
		require.True(t, large.Load())
		require.True(t, b.Try(1), "nobody waits any more")
	})
}

func TestASmallRequestThatWaitedPassesALargeOneToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(8<<20, nil)
		b.Add(8 << 20)
		var got []int64
		takeAll(t, b, &got, 2<<20, 10, 3<<20, 20)
		b.Give(10)
		synctest.Wait()
		require.Equal(t, []int64{10}, got)
		b.Give(20)
		synctest.Wait()
		require.Equal(t, []int64{10, 20}, got)
		require.Equal(t, 2, b.Waiting())
		b.Give(3 << 20)
		synctest.Wait()
		b.Give(4 << 20)
		synctest.Wait()
		require.Equal(t, []int64{10, 20, 2 << 20, 3 << 20}, got, "the large ones keep their order")
	})
}

func TestWhatIsLargerThanABudgetIsGrantedAlone(t *testing.T) {
	b := NewBudget(10, nil)
	require.True(t, b.Try(1000))
	require.False(t, b.Try(1))
	b.Give(1000)
	require.True(t, b.Try(1))
}

func TestWhoGivesUpWaitingTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, nil)
		require.True(t, b.Try(10))
		ctx, cancel := context.WithCancel(t.Context())
		errs := make(chan error, 1)
		go func() { errs <- b.Take(ctx, "", 10) }()
		synctest.Wait()
		require.Equal(t, 1, b.Waiting())
		cancel()
		require.ErrorIs(t, <-errs, context.Canceled)
		b.Give(10)
		require.Zero(t, b.Used())
		require.Zero(t, b.Waiting())
	})
}

func TestWhoAsksToBeToldIsToldOnceThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, nil)
		b.Add(12)
		told := 0
		b.Tell(func() { told++ })
		b.Give(1)
		synctest.Wait()
		require.Zero(t, told)
		b.Give(2)
		synctest.Wait()
		require.Equal(t, 1, told)
		require.Equal(t, int64(9), b.Used(), "nothing is taken by it")
	})
}

func TestABudgetIsSmallWhileMemoryIsShort(t *testing.T) {
	var short atomic.Bool
	b := NewBudget(160, short.Load)
	require.True(t, b.Try(5))
	short.Store(true)
	require.False(t, b.Try(10))
	require.True(t, b.Try(5))
	short.Store(false)
	require.True(t, b.Try(10))
}

func TestAnAccountHasABoundOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, nil)
		var one, other Account
		one.Init(b, 20)
		other.Init(b, 20)
		require.True(t, one.Try(20))
		require.False(t, one.Try(1))
		require.True(t, other.Try(20))
		done := make(chan error, 1)
		go func() { done <- one.Take(t.Context(), 50) }()
		synctest.Wait()
		one.Give(19)
		synctest.Wait()
		require.Empty(t, done, "it has something still")
		one.Give(1)
		require.NoError(t, <-done, "one that has nothing gets what it needs")
		require.Equal(t, int64(70), b.Used())
	})
}

func TestNothingIsLostBetweenManyTakersAndGivers(t *testing.T) {
	b := NewBudget(64, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			var a Account
			a.Init(b, 32)
			var given sync.WaitGroup
			for i := range 500 {
				n := int64(i%40 + 1)
				if !a.Try(n) && a.Take(t.Context(), n) != nil {
					return
				}
				given.Go(func() { a.Give(n) })
			}
			given.Wait()
		})
	}
	wg.Wait()
	require.Zero(t, b.Used())
	require.Zero(t, b.Waiting())
}

func TestAChangedBudgetGrantsWhatNowFits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(100, nil)
		require.True(t, b.Try(90))
		var granted atomic.Bool
		go func() { granted.Store(b.Take(t.Context(), "", 60) == nil) }()
		synctest.Wait()
		require.False(t, granted.Load())
		b.SetWhole(150)
		synctest.Wait()
		require.True(t, granted.Load())
		b.SetWhole(10)
		require.False(t, b.Try(1), "what was taken stays taken")
		var a Account
		a.Init(b, 5)
		b.SetWhole(1000)
		require.True(t, a.Try(5))
		require.False(t, a.Try(1))
		a.SetBound(6)
		require.True(t, a.Try(1))
	})
}

func TestPartiesAreServedInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget(10, nil)
		require.True(t, b.Try(10))
		var got []string
		for _, from := range []string{"flood", "flood", "flood", "a", "flood", "b", "a"} {
			go func() {
				if b.Take(t.Context(), from, 2) == nil {
					got = append(got, from)
				}
			}()
			synctest.Wait()
		}
		for range 7 {
			b.Give(2)
			synctest.Wait()
		}
		require.Equal(t, []string{"flood", "a", "b", "flood", "a", "flood", "flood"}, got)
		require.Zero(t, b.Waiting())
		require.Empty(t, b.parties)
	})
}
