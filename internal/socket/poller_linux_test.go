package socket

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waiter sends to a channel when it is notified.
type waiter chan struct{}

func (w waiter) Readable() { w <- struct{}{} }

func (w waiter) await(t *testing.T) {
	t.Helper()
	select {
	case <-w:
	case <-time.After(time.Minute):
		require.Fail(t, "nobody was told")
	}
}

func newPoller(t *testing.T) *Poller {
	t.Helper()
	p, err := NewPoller()
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func TestAWaiterIsToldOnceForEachWait(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	w := make(waiter, 10)
	var place Wait
	for range 3 {
		require.True(t, p.Arm(&place, a, w))
		_, err := b.Write([]byte("xy"))
		require.NoError(t, err)
		w.await(t)
		require.False(t, p.Disarm(&place), "it was told")
		_, err = a.Read(make([]byte, 1))
		require.NoError(t, err)
		require.True(t, p.Arm(&place, a, w), "what is there already counts")
		w.await(t)
		_, err = a.Read(make([]byte, 1))
		require.NoError(t, err)
	}
	require.Empty(t, w)
}

func TestTheEndOfAConnectionIsTold(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	w := make(waiter, 1)
	require.True(t, p.Arm(new(Wait), a, w))
	require.NoError(t, b.Close())
	w.await(t)
}

func TestWhoIsDisarmedIsNotTold(t *testing.T) {
	p := newPoller(t)
	a, b := pair(t)
	w, other := make(waiter, 1), make(waiter, 1)
	var place Wait
	require.True(t, p.Arm(&place, a, w))
	require.True(t, p.Disarm(&place))
	require.False(t, p.Disarm(&place))
	_, err := b.Write([]byte("x"))
	require.NoError(t, err)
	require.True(t, p.Arm(&place, a, other), "a new wait")
	other.await(t)
	require.Empty(t, w)
}

func TestAPlaceIsGivenBack(t *testing.T) {
	p := newPoller(t)
	for range 5 {
		a, b := pair(t)
		w := make(waiter, 1)
		var place Wait
		require.True(t, p.Arm(&place, a, w))
		_, err := b.Write([]byte("x"))
		require.NoError(t, err)
		w.await(t)
		p.Leave(&place)
		p.Leave(&place)
	}
	require.Len(t, p.waits, 1)
}

func TestWhatCannotBeWaitedForIsSaid(t *testing.T) {
	p := newPoller(t)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	require.False(t, p.Arm(new(Wait), a, make(waiter)))
	c, _ := pair(t)
	require.NoError(t, c.Close())
	var place Wait
	require.False(t, p.Arm(&place, c, make(waiter)))
	require.False(t, p.Disarm(&place))
	var none *Poller
	require.False(t, none.Arm(new(Wait), c, make(waiter)))
	require.False(t, none.Disarm(new(Wait)))
	none.Leave(new(Wait))
	none.Close()
}

func TestManyWaitAtOnce(t *testing.T) {
	p := newPoller(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			a, b := pair(t)
			w := make(waiter, 1)
			var place Wait
			for range 200 {
				if !p.Arm(&place, a, w) {
					t.Error("not armed")
					return
				}
				_, _ = b.Write([]byte("x"))
				<-w
				_, _ = a.Read(make([]byte, 1))
			}
			p.Leave(&place)
		})
	}
	all.Wait()
}
