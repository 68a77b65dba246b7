package flight

import (
	"errors"
	"maps"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAQoS2MessageOfTheClientIsTakenOnce(t *testing.T) {
	var in Inbound
	var told []string
	done := func(name string) func(error) {
		return func(err error) { told = append(told, name+" "+strconv.FormatBool(err == nil)) }
	}
	first, arrival := in.Take(7, done("first"))
	require.Equal(t, New, arrival)
	again, arrival := in.Take(7, done("again"))
	require.Equal(t, UnderWay, arrival)
	require.Same(t, first, again)
	for _, f := range in.Stored(7, first, nil) {
		f(nil)
	}
	require.Equal(t, []string{"again true"}, told)
	_, arrival = in.Take(7, done("late"))
	require.Equal(t, Repeated, arrival)
	require.Same(t, first, in.Release(7))
	require.Nil(t, in.Release(7))
	require.Zero(t, in.Len())
	_, arrival = in.Take(7, done("another"))
	require.Equal(t, New, arrival)
}

func TestAMessageThatWasNotStoredIsForgotten(t *testing.T) {
	var in Inbound
	failure := errors.New("failure")
	old, _ := in.Take(7, nil)
	require.Empty(t, in.Stored(7, old, failure))
	require.Zero(t, in.Len())
	// A failure does not remove a newer message that took the packet id meanwhile.
	old, _ = in.Take(7, nil)
	in.Release(7)
	now, arrival := in.Take(7, nil)
	require.Equal(t, New, arrival)
	in.Stored(7, old, failure)
	require.Same(t, now, in.Release(7))
}

func TestRestoredMessagesAreKnownAsStored(t *testing.T) {
	var in Inbound
	in.Restore(7, 5, 6, nil)
	in.Restore(8, 5, 7, nil)
	require.Equal(t, map[uint16]*Taken{7: {Epoch: 5, Counter: 6, stored: true}, 8: {Epoch: 5, Counter: 7, stored: true}}, maps.Collect(in.All()))
	for range in.All() {
		break
	}
	_, arrival := in.Take(7, nil)
	require.Equal(t, Repeated, arrival)
}

func TestSeenRecordsAreForgottenOnceEachFeedHasBroughtThem(t *testing.T) {
	var s Seen
	require.False(t, s.Again("a"))
	s.Expect("a", 2)
	s.Expect("b", 0)
	require.True(t, s.Again("a"))
	require.True(t, s.Again("a"))
	require.False(t, s.Again("a"))
	require.False(t, s.Again("b"))
	for i := range maxSeen + 1 {
		s.Expect(strconv.Itoa(i), 1)
	}
	require.False(t, s.Again("0"), "the oldest half falls out")
	require.True(t, s.Again(strconv.Itoa(maxSeen)))
	require.LessOrEqual(t, len(s.order), maxSeen)
}
