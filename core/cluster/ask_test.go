package cluster

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// answering answers with the test's function, or without one with the question.
func (n *member) answering(_ context.Context, from, subject string, body []byte) ([]byte, error) {
	n.mu.Lock()
	f := n.answers
	n.mu.Unlock()
	if f != nil {
		return f(from, subject, body)
	}
	return []byte(n.id + " answers " + from + " about " + subject + ": " + string(body)), nil
}

func (n *member) answersBy(f func(from, subject string, body []byte) ([]byte, error)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.answers = f
}

func TestEveryOtherNodeAnswersAQuestion(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		began := time.Now()
		require.Equal(t, []Answer{{Node: "b", Body: []byte("b answers a about things: which?")},
			{Node: "c", Body: []byte("c answers a about things: which?")}}, nodes[0].Ask(context.Background(), "things", []byte("which?")))
		require.Less(t, time.Since(began), time.Second)
		require.Equal(t, []Answer{{Node: "c", Body: []byte("c answers b about x: ")}}, nodes[1].Ask(context.Background(), "x", nil, "c", "c", "b"),
			"or those that are named, but for itself")
		nodes[2].answersBy(func(string, string, []byte) ([]byte, error) { return nil, errors.New("no things here") })
		answers := nodes[0].Ask(context.Background(), "things", nil)
		require.NoError(t, answers[0].Err)
		require.EqualError(t, answers[1].Err, "no things here")
		nodes[2].answersBy(func(string, string, []byte) ([]byte, error) { return nil, nil })
		require.Equal(t, Answer{Node: "c", Body: []byte{}}, nodes[0].Ask(context.Background(), "things", nil)[1], "an empty answer is one")
	})
}

func TestAnAnswerOfManyLettersComesWhole(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		large := make([]byte, 3<<20)
		random := rand.NewChaCha8([32]byte{})
		_, _ = random.Read(large) // so that it does not compress
		body := large[:1<<20]
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) { return body, nil })
		answers := nodes[0].Ask(context.Background(), "things", nil)
		require.NoError(t, answers[0].Err)
		require.True(t, bytes.Equal(body, answers[0].Body))
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) { return make([]byte, answerMost+1), nil })
		require.ErrorContains(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err, "over 4194304")
	})
}

func TestANodeThatDoesNotAnswerIsNamedInTime(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b", "c")
		nodes[1].pause(true)
		began := time.Now()
		answers := nodes[0].Ask(context.Background(), "things", nil)
		require.Equal(t, 2*time.Second, time.Since(began).Round(100*time.Millisecond))
		require.ErrorIs(t, answers[0].Err, ErrNoAnswer)
		require.NoError(t, answers[1].Err)
		w.eventually("it is no member any more", func() bool { return len(nodes[0].Members()) == 2 })
		began = time.Now()
		answers = nodes[0].Ask(context.Background(), "things", nil)
		require.Less(t, time.Since(began), time.Second, "nobody waits for a node that is known to be silent")
		require.ErrorIs(t, answers[0].Err, errSilent)
		require.NoError(t, answers[1].Err)
		nodes[1].pause(false)
		w.eventually("it is a member again", func() bool { return len(nodes[0].Members()) == 3 })
		w.eventually("it is back", func() bool { return nodes[0].Ask(context.Background(), "things", nil)[0].Err == nil })
		nodes[1].Close()
		w.eventually("its goodbye is read", func() bool { return len(nodes[0].Members()) == 2 })
		require.Len(t, nodes[0].Ask(context.Background(), "things", nil), 1, "who has left is not asked")
	})
}

func TestQuestionsWhileTheStoreIsAwayEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		nodes[0].mute.Store(true)
		require.Error(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err)
		nodes[0].mute.Store(false)
		require.NoError(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err)
		require.Empty(t, nodes[0].questions)
	})
}

func TestQuestionsAreAnsweredAFewAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		var mu sync.Mutex
		at, most := 0, 0
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) {
			mu.Lock()
			at++
			most = max(most, at)
			mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			at--
			mu.Unlock()
			return nil, nil
		})
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() { require.NoError(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err) })
		}
		wg.Wait()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, answersMost, most)
	})
}

func TestAQuestionBehindAGoodbyeMakesNobodyAMember(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		nodes[1].Close()
		w.eventually("b has left", func() bool { return len(nodes[0].Members()) == 1 })
		require.NoError(t, nodes[1].store(context.Background(), "a", mustEncode(t, &letter{From: "b", Instance: nodes[1].instance,
			Messages: []message{{Kind: kindReply}, {Kind: kindAsk, Claim: "x"}}})))
		pass(time.Second)
		require.Equal(t, []string{"a"}, nodes[0].Members())
	})
}

func mustEncode(t *testing.T, l *letter) []byte {
	t.Helper()
	b, err := l.encode()
	require.NoError(t, err)
	return b
}

func TestAnswersThatCannotBeReadAreRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		c := w.start("a", "b")[0].Cluster
		for name, m := range map[string]message{
			"no parts":                {},
			"more parts than allowed": {Parts: 1 << 30},
			"a part that is not one":  {Parts: 2, Part: 2},
			"a negative part":         {Parts: 2, Part: -1},
			"bytes that are no text":  {Parts: 1, Body: []byte{0xff, 0xff}},
			"too much of it":          {Parts: 1, Body: deflate(make([]byte, answerMost+1))},
		} {
			q := c.question(nil)
			m.Claim = q.id
			c.mu.Lock()
			c.replied("b", &m)
			require.Error(t, q.answers["b"].Err, name)
			delete(c.questions, q.id)
			c.mu.Unlock()
		}
	})
}

func TestAQuestionThatCannotBeAnsweredDoesNotEndTheNode(t *testing.T) {
	inWorld(t, func(w *world) {
		nodes := w.start("a", "b")
		nodes[1].answersBy(func(string, string, []byte) ([]byte, error) { panic("no such page") })
		require.ErrorContains(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err, "see its log")
		nodes[1].answersBy(nil)
		require.NoError(t, nodes[0].Ask(context.Background(), "things", nil)[0].Err)
	})
}

func TestANodeThatIsAloneKeepsNoQuestions(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.start("a")[0]
		require.Empty(t, a.Ask(context.Background(), "things", nil))
		a.Cluster.mu.Lock()
		defer a.Cluster.mu.Unlock()
		require.Empty(t, a.Cluster.questions)
	})
}
