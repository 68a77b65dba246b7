package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	goyaml "go.yaml.in/yaml/v3"
)

func unmarshalYAML(text string, v any) error { return goyaml.Unmarshal([]byte(text), v) }

// FuzzLoad feeds a file, one --set and one variable. For any input, Load returns a valid configuration or problems of one line each.
func FuzzLoad(f *testing.F) {
	f.Add([]byte("mqtt: {receive_maximum: 3}"), "log.level=debug", "LMQGATE_TOPICS__QUEUES=4")
	f.Add([]byte("listeners:\n  - {type: ws, address: \":0\", path: /m}\n"), "listeners=[]", "LMQGATE_LISTENERS=[]")
	f.Add([]byte("a: &x [1]\nb: *x\n? [1,2]\n: 3\n"), "a.b.c={d: 1}", "LMQGATE_AUTH__CONFIG={}")
	f.Add([]byte("auth: {config: {1: 2, 2001-01-01: !!binary aGk=, .nan: .inf}}"), "auth.config.\x00=1", "LMQGATE___=1")
	f.Add([]byte("<<: {log: {level: info}}\n"), "auth=null", "LMQGATE_AUTH=null")
	f.Fuzz(func(t *testing.T, file []byte, set, variable string) {
		c, err := parse("f.yaml", file, []string{set}, []string{variable})
		if err != nil {
			var e *Error
			require.True(t, errors.As(err, &e), "%v", err)
			for _, p := range e.Problems {
				require.NotContains(t, p.String(), "\n")
				require.NotEmpty(t, strings.TrimSpace(p.Message))
			}
			return
		}
		require.NoError(t, c.Validate())
		require.NotEmpty(t, c.String())
	})
}

func FuzzSuggest(f *testing.F) {
	f.Add("mqtt.max_packetsize")
	f.Fuzz(func(t *testing.T, key string) {
		if best := nearest(key, Keys()); best != "" {
			require.Contains(t, Keys(), best)
		}
		require.NotEmpty(t, unknown(key))
	})
}
