package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

func TestBenchPrintsATableOfWhatItMeasured(t *testing.T) {
	b := startBroker(t)
	r := runCommand(t, "", "bench", "p2p", "conn", "--config", b.config(t), "--duration", "200ms", "--warmup", "0s", "--publishers", "2", "--rate", "500")
	require.Equal(t, 0, r.status, r.err)
	require.Empty(t, r.err)
	require.Regexp(t, `(?s)^scenario +broker +rate/s .*\np2p +mqtt://\S+ +\d+ .*\nconn +mqtt://\S+ +\d+ `, r.out)
}

func TestBenchPrintsJSON(t *testing.T) {
	b := startBroker(t)
	r := runCommand(t, "", "bench", "pairs", "--config", b.config(t), "--duration", "200ms", "--warmup", "0s", "--publishers", "2",
		"--mqtt", "5", "-q", "2", "-o", "json")
	require.Equal(t, 0, r.status, r.err)
	var got mqttload.Result
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Equal(t, "pairs", got.Scenario)
	require.Zero(t, got.Missing)
}

func TestBenchComparesTwoBrokersInTurns(t *testing.T) {
	a, b := startBroker(t), startBroker(t)
	r := runCommand(t, "", "bench", "--config", a.config(t), "--duration", "50ms", "--warmup", "0s", "--compare", b.url,
		"--compare-username", "nobody", "--compare-password", "x")
	require.Equal(t, 1, r.status)
	require.Contains(t, r.err, b.url)
	require.Contains(t, r.err, "refused")
	require.NotContains(t, r.err, "\n ")
}

func TestBenchRefusesWhatItDoesNotKnow(t *testing.T) {
	for want, args := range map[string][]string{
		`there is no scenario "p3p"`: {"p3p"},
		"-o wants table or json":     {"-o", "xml"},
		"--mqtt wants 3.1.1 or 5":    {"--mqtt", "6"},
		"-q wants 0, 1 or 2":         {"-q", "3"},
		"--compare wants a URL":      {"--compare", "nowhere"},
		"is the gateway running?":    {"--port", "1"},
	} {
		r := runCommand(t, "", append([]string{"bench"}, args...)...)
		require.NotZero(t, r.status, args)
		require.Contains(t, r.err, want)
	}
}
