package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta"
)

func TestAConnectionToAnEarlierProcessOfANodeIsOver(t *testing.T) {
	started := time.UnixMilli(1_000_000).Add(300 * time.Microsecond)
	nodes := []meta.Node{{ID: "a", Started: started}, {ID: "b", Started: started.Add(time.Hour)}}
	for name, c := range map[string]struct {
		rec  meta.Session
		want bool
	}{
		"to the present process":          {meta.Session{Node: "a", Connected: started.Add(time.Second)}, true},
		"in its first millisecond":        {meta.Session{Node: "a", Connected: started.Truncate(time.Millisecond)}, true},
		"before the process was started":  {meta.Session{Node: "b", Connected: started.Add(time.Second)}, false},
		"to a node that is gone":          {meta.Session{Node: "c", Connected: started.Add(2 * time.Hour)}, false},
		"without a node, of old releases": {meta.Session{}, false},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, isOf(&c.rec, nodes)) })
	}
}
