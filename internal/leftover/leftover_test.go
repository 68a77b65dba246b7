package leftover

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestAGoroutineThatEndsLateIsNoLeftover(t *testing.T) {
	before := goleak.IgnoreCurrent()
	end := make(chan struct{})
	go func() { <-end }()
	require.Error(t, goleak.Find(before))
	time.AfterFunc(time.Second, func() { close(end) }) // longer than goleak waits
	require.NoError(t, Find(before))
}
