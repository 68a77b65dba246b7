package config

import (
	"regexp"
	"strings"

	"github.com/lmqgate/lmqgate/internal/spelling"
)

// servicePattern matches the variables that orchestrators set for a service named lmqgate: LMQGATE_SERVICE_HOST, LMQGATE_MQTT_PORT,
// LMQGATE_PORT_1883_TCP_ADDR.
var servicePattern = regexp.MustCompile(`(^|_)(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// ignored reports whether a variable, named without its prefix, is not meant for the configuration. A name is meant for it if it has
// levels, separated by "__", or begins with the name of a section, and is not set by an orchestrator.
func ignored(name string) bool {
	if strings.Contains(name, "__") {
		return false
	}
	section, _, _ := strings.Cut(strings.ToLower(name), "_")
	return typeAt([]string{section}) == nil || servicePattern.MatchString(name)
}

// misnamed returns the message about a variable that begins with a section and has no levels: it says what to write instead.
func misnamed(name string) string {
	const form = "is no key: levels are divided by two underscores"
	spelt := make(map[string]string) // name with one underscore -> correct name
	var words []string
	for _, key := range Keys() {
		path := strings.Split(key, ".")
		if strings.Contains(key, "[") || len(path) == 1 {
			continue
		}
		right := strings.ToUpper(strings.Join(path, "__"))
		once := strings.ReplaceAll(right, "__", "_")
		if inside, ok := strings.CutPrefix(name, once+"_"); ok && typeAt(path) == pluginConfigType {
			return form + "; write " + EnvPrefix + right + "__" + inside
		}
		if _, ok := spelt[once]; !ok {
			words = append(words, once)
		}
		spelt[once] = right
	}
	if meant, ok := spelt[spelling.Nearest(name, words)]; ok {
		return form + "; write " + EnvPrefix + meant
	}
	return form + ", such as " + EnvPrefix + "STORE__ROCKETMQ__ACCESS_KEY"
}
