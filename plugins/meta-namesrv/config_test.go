package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProblemsOfNameServersShowNoPassword(t *testing.T) {
	for _, address := range []string{"http://user:geheim@namesrv:9876", "user:geheim@namesrv:9876"} {
		c := config{Namesrv: []string{address}}
		text := fmt.Sprint(c.Check())
		require.Contains(t, text, "xxxxx@namesrv:9876")
		require.NotContains(t, text, "geheim")
	}
}
