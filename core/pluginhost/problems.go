package pluginhost

import (
	"strings"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Problem is one error in a plugin's configuration. Key is its dotted path within the plugin's block.
type Problem struct{ Key, Message string }

// ConfigError is the error of a configuration that a plugin refused.
type ConfigError struct {
	// Section is the place of the block in the gateway's configuration, for instance "auth.config".
	Section  string
	Problems []Problem
}

// Error implements error: one line with every problem, each with its key as in the gateway's configuration.
func (e *ConfigError) Error() string {
	parts := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		key := e.Section
		if p.Key != "" {
			key += "." + p.Key
		}
		parts[i] = key + ": " + p.Message
	}
	return "it refuses its configuration: " + strings.Join(parts, "; ")
}

func sectionOf(kind pluginv1.Kind) string {
	switch kind {
	case pluginv1.Kind_KIND_AUTH:
		return "auth.config"
	case pluginv1.Kind_KIND_META:
		return "meta.config"
	}
	return "config"
}

func problemsOf(resp *pluginv1.ConfigureResponse) []Problem {
	var out []Problem
	for _, p := range resp.GetProblems() {
		out = append(out, Problem{Key: p.GetKey(), Message: clip(p.GetMessage())})
	}
	return out
}
