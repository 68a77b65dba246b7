package session

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/delivery"
)

// slowTail is a tail that still has to bring some records, and a reader that then has to hand out some.
type slowTail struct{ missing, left int64 }

func (s *slowTail) Passed(delivery.Known) (mark, missing int64) { return 7, s.missing }
func (s *slowTail) Left(int64) int64                            { return s.left }

func TestQueuesWaitForATailAsLongAsItComesForward(t *testing.T) {
	const stalls = 10 * time.Second
	cases := []struct {
		name  string
		asked bool
		steps []slowTail // one every eight seconds
		over  []bool
	}{
		{"it has brought everything", true, []slowTail{{0, 0}}, []bool{true}},
		{"it is slow, and its reader too", true, []slowTail{{3, 5}, {2, 5}, {1, 5}, {0, 5}, {0, 3}, {0, 1}, {0, 0}},
			[]bool{false, false, false, false, false, false, true}},
		{"it stands still", true, []slowTail{{3, 0}, {3, 0}, {3, 0}}, []bool{false, false, true}},
		{"more is missing, because a queue began again", true, []slowTail{{3, 0}, {9, 0}, {9, 0}}, []bool{false, false, true}},
		{"its reader stands still", true, []slowTail{{0, 2}, {0, 2}, {0, 2}}, []bool{false, false, true}},
		{"the store does not answer", false, []slowTail{{0, 0}, {0, 0}, {0, 0}}, []bool{false, false, true}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tail := &slowTail{}
				g := newSettling(tail, stalls)
				g.asked = c.asked
				for i, now := range c.steps {
					*tail = now
					require.Equal(t, c.over[i], g.over(), "look %d", i)
					time.Sleep(8 * time.Second)
				}
			})
		})
	}
}
