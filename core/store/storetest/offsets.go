package storetest

import (
	"sync"
	"testing"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
	"github.com/stretchr/testify/require"
)

var offsetCases = []testCase{
	{"committed offsets come back and absent ones are left out", commitRoundTrip},
	{"a later commit replaces an earlier one, downwards as well", commitReplaces},
	{"clients do not see each other's offsets", commitPerClient},
	{"forgotten offsets are gone and others stay", forget},
	{"a commit with an old epoch fails and changes nothing", staleEpoch},
	{"many clients commit at once", commitConcurrently},
}

// refs returns n queue references of a new topic.
func (s *suite) refs(t *testing.T, n int) []store.QueueRef {
	t.Helper()
	first := s.newTopic(t)
	broker := s.brokers(t, first)[0]
	refs := make([]store.QueueRef, n)
	for i := range refs {
		refs[i] = store.QueueRef{Queue: topic.Queue(first + "/" + numbers(n)[i]), Broker: broker}
	}
	return refs
}

func commitRoundTrip(t *testing.T, s *suite) {
	who, refs := client(), s.refs(t, 3)
	got, err := s.Committed(s.ctx, who, refs)
	require.NoError(t, err)
	require.Empty(t, got)
	want := []store.Offset{{QueueRef: refs[0], Next: 0}, {QueueRef: refs[2], Next: 1 << 40}}
	require.NoError(t, s.Commit(s.ctx, who, 1, want))
	s.requireCommitted(t, who, refs, want)
}

func (s *suite) requireCommitted(t *testing.T, who string, refs []store.QueueRef, want []store.Offset) {
	t.Helper()
	got, err := s.Committed(s.ctx, who, refs)
	require.NoError(t, err)
	require.ElementsMatch(t, want, got)
}

func commitReplaces(t *testing.T, s *suite) {
	who, refs := client(), s.refs(t, 1)
	for _, next := range []int64{5, 9, 2} {
		offsets := []store.Offset{{QueueRef: refs[0], Next: next}}
		require.NoError(t, s.Commit(s.ctx, who, 1, offsets))
		s.requireCommitted(t, who, refs, offsets)
	}
}

func commitPerClient(t *testing.T, s *suite) {
	refs := s.refs(t, 1)
	one, two := client(), client()
	require.NoError(t, s.Commit(s.ctx, one, 1, []store.Offset{{QueueRef: refs[0], Next: 7}}))
	s.requireCommitted(t, two, refs, nil)
	s.requireCommitted(t, one+"x", refs, nil)
	s.requireCommitted(t, one, refs, []store.Offset{{QueueRef: refs[0], Next: 7}})
}

func forget(t *testing.T, s *suite) {
	who, refs := client(), s.refs(t, 2)
	require.NoError(t, s.Commit(s.ctx, who, 1, []store.Offset{{QueueRef: refs[0], Next: 1}, {QueueRef: refs[1], Next: 2}}))
	require.NoError(t, s.Forget(s.ctx, who, refs[:1]))
	s.requireCommitted(t, who, refs, []store.Offset{{QueueRef: refs[1], Next: 2}})
	require.NoError(t, s.Forget(s.ctx, who, refs), "forgetting what is not there is no error")
	s.requireCommitted(t, who, refs, nil)
	require.NoError(t, s.Forget(s.ctx, client(), refs))
}

func staleEpoch(t *testing.T, s *suite) {
	if !s.Epochs {
		t.Skip("the store does not know epochs")
	}
	who, refs := client(), s.refs(t, 1)
	first := []store.Offset{{QueueRef: refs[0], Next: 3}}
	require.NoError(t, s.Commit(s.ctx, who, 10, first))
	require.ErrorIs(t, s.Commit(s.ctx, who, 9, []store.Offset{{QueueRef: refs[0], Next: 8}}), store.ErrStaleEpoch)
	s.requireCommitted(t, who, refs, first)
	again := []store.Offset{{QueueRef: refs[0], Next: 4}}
	require.NoError(t, s.Commit(s.ctx, who, 10, again))
	require.NoError(t, s.Commit(s.ctx, who, 11, nil), "an epoch alone is recorded as well")
	require.ErrorIs(t, s.Commit(s.ctx, who, 10, first), store.ErrStaleEpoch)
	s.requireCommitted(t, who, refs, again)
	require.NoError(t, s.Commit(s.ctx, client(), 1, first), "another client's epochs are its own")
}

func commitConcurrently(t *testing.T, s *suite) {
	refs := s.refs(t, 2)
	clients := s.scaled(50)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			who := client()
			for next := range int64(5) {
				want := []store.Offset{{QueueRef: refs[0], Next: next}, {QueueRef: refs[1], Next: 2 * next}}
				if err := s.Commit(s.ctx, who, next, want); err != nil {
					t.Error(err)
					return
				}
				got, err := s.Committed(s.ctx, who, refs)
				if err != nil || len(got) != 2 || got[0].Next+got[1].Next != 3*next {
					t.Errorf("committed %v, got %v, error %v", want, got, err)
				}
			}
		})
	}
	wg.Wait()
}
