package local

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpansAreASetOfOffsets(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s spans
		want := map[int64]bool{}
		disk := map[int64]int64{}
		for range 60 {
			p := span{first: r.Int64N(50)}
			p.end = p.first + r.Int64N(4)
			touched := map[int64]bool{}
			s.add(p, func(first int64) { touched[first] = true })
			for at := p.first; at < p.end; at++ {
				want[at] = true
			}
			for first := range touched {
				delete(disk, first)
				for _, q := range s {
					if q.first == first {
						disk[first] = q.end
					}
				}
			}
			for at := range int64(60) {
				require.Equal(t, want[at], s.has(at), "seed %d, offset %d in %v", seed, at, s)
				next := at
				for want[next] {
					next++
				}
				require.Equal(t, next, s.skip(at))
			}
			require.Len(t, disk, len(s), "what was touched is what changed")
			for i, q := range s {
				require.Equal(t, q.end, disk[q.first])
				require.Less(t, q.first, q.end)
				require.True(t, i == 0 || s[i-1].end < q.first, "spans do not touch: %v", s)
			}
		}
	}
}
