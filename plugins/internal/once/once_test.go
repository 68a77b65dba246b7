package once

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOfEachKeySomethingIsSaidOnceAndOfAThousandAtMost(t *testing.T) {
	var k Keys
	said := 0
	for range 3 {
		for i := range 5000 {
			if k.First(strconv.Itoa(i)) {
				said++
			}
		}
	}
	require.Equal(t, most, said)
}
