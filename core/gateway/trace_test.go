package gateway

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/trace"
)

func TestAnotherNodeIsAnsweredWhatItWatchesUntilItIsOver(t *testing.T) {
	g := &Gateway{tracer: trace.New("n")}
	q := traceQuestion{ID: "1", Match: trace.Match{ClientID: "c"}}
	events, err := g.traced(q)
	require.NoError(t, err)
	require.NotNil(t, events, "an empty answer is a list")
	require.Empty(t, events)
	g.tracer.Add(trace.Entry{What: trace.In, ClientID: "c"})
	events, err = g.traced(q)
	require.NoError(t, err)
	require.Len(t, events, 1)
	require.Equal(t, "n", events[0].Node)
	q.Over = true
	_, err = g.traced(q)
	require.NoError(t, err)
	require.False(t, g.tracer.On())
	_, err = g.traced(q)
	require.NoError(t, err, "it may be told twice")
	_, err = g.traced(traceQuestion{ID: "2"})
	require.ErrorIs(t, err, trace.ErrInvalid)
	_, err = g.traced(traceQuestion{ID: "3", Match: trace.Match{Topic: "T/#"}})
	require.NoError(t, err)
	g.traces.stop()
	require.False(t, g.tracer.On())
}
