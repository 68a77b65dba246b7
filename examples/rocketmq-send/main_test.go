package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The names are those of docs/messages.md.
func TestQueuesOfTopicsWithSpecialCharactersHaveNoComma(t *testing.T) {
	for name, want := range map[string]string{
		"sensors":        "%LMQ%sensors",
		"sensors/1/temp": "%LMQ%sensors%1%temp%",
		"sensors/1/":     "%LMQ%sensors%1%",
		"sensors/#":      "%LMQ%sensors%#%",
		"T/~a":           "%LMQ%T%~a%",
		"T/a,b":          "%LMQ%T%a~2Cb%%e",
		"T,~%":           "%LMQ%T~2C~7E~25%e",
		"T/\u00fc\x01/":  "%LMQ%T%\u00fc~01%%e",
	} {
		require.Equal(t, want, lmq(name), name)
	}
}
