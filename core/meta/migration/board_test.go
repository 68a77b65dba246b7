package migration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
)

func TestTheFirstProposalStands(t *testing.T) {
	b := metatest.New(metatest.Full())
	t.Cleanup(b.Close)
	board := Board{Client: b.Client()}
	o, err := board.Decision(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, Undecided, o)
	for _, proposal := range []Outcome{Stay, Move, Stay} {
		o, err = board.Decide(t.Context(), "x", proposal)
		require.NoError(t, err)
		require.Equal(t, Stay, o)
	}
	o, err = board.Decide(t.Context(), "y", Move)
	require.NoError(t, err)
	require.Equal(t, Move, o)
	o, err = board.Decision(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, Stay, o)
}

func TestTidyKeepsWhatBelongsToThePlan(t *testing.T) {
	b := metatest.New(metatest.Plain())
	t.Cleanup(b.Close)
	board := Board{Client: b.Client()}
	ctx := t.Context()
	require.NoError(t, board.SetPlan(ctx, Plan{ID: "new", Phase: Prepare}))
	require.NoError(t, board.SetAnswer(ctx, "one", Answer{ID: "old", State: Away}))
	require.NoError(t, board.SetAnswer(ctx, "two", Answer{ID: "new", State: Ready}))
	require.NoError(t, board.SetArrival(ctx, Mark{ID: "old", Done: true}))
	b.Edit(Namespace, "decision/old", `{"v":1,"outcome":"moved"}`)
	b.Edit(Namespace, "decision/new", `{"v":1,"outcome":"aborted"}`)
	require.NoError(t, board.Tidy(ctx, "new"))
	require.Equal(t, []string{"arrival", "decision/new", "node/two", "plan"}, b.Keys(Namespace))
	answers, err := board.AllAnswers(ctx)
	require.NoError(t, err)
	require.Equal(t, map[string]Answer{"two": {V: 1, ID: "new", State: Ready}}, answers)
}

func TestRecordsThatAreNotUnderstoodAreNamedAndNotGuessedAt(t *testing.T) {
	b := metatest.New(metatest.Plain())
	t.Cleanup(b.Close)
	board := Board{Client: b.Client()}
	for value, want := range map[string]string{
		`nonsense`:                        `lmqgate.migration "plan" is not of lmqgate's making`,
		`{"v":2,"id":"x","phase":"melt"}`: "use the newer one",
		`{"v":1,"id":7}`:                  "remove the key",
	} {
		b.Edit(Namespace, keyPlan, value)
		_, err := board.Plan(t.Context())
		require.ErrorContains(t, err, want)
	}
	b.Fail(true)
	_, err := board.Plan(t.Context())
	require.ErrorContains(t, err, `read lmqgate.migration "plan": the backend is down`)
}
