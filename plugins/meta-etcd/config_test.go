package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProblemsOfEndpointsShowNoPassword(t *testing.T) {
	for _, endpoint := range []string{"http://user:geheim@etcd:2379", "user:geheim@etcd:2379"} {
		c := config{Endpoints: []string{endpoint}, RequestTimeout: time.Second}
		problems := c.Check()
		require.Len(t, problems, 1)
		require.Contains(t, fmt.Sprint(problems), "xxxxx@etcd:2379")
		require.NotContains(t, fmt.Sprint(problems), "geheim")
	}
}
