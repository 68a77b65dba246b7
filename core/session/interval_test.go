package session

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhatIsLeftOfAMessagesExpiryFitsItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, c := range map[string]struct {
			at   time.Time
			want uint32
		}{
			"past":                   {now.Add(-time.Hour), 0},
			"now":                    {now, 0},
			"a moment":               {now.Add(time.Millisecond), 1},
			"seconds":                {now.Add(5 * time.Second), 5},
			"a begun second":         {now.Add(5*time.Second + 1), 6},
			"the longest interval":   {now.Add(math.MaxUint32 * time.Second), math.MaxUint32},
			"over the longest":       {now.Add((1<<32 + 100) * time.Second), math.MaxUint32},
			"the year 9999":          {time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), math.MaxUint32},
			"the end of all numbers": {time.UnixMilli(math.MaxInt64), math.MaxUint32},
			"the beginning of all":   {time.UnixMilli(math.MinInt64), 0},
		} {
			require.Equal(t, c.want, secondsUntil(c.at), name)
		}
	})
}
