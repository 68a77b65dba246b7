package plugintest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk/handshake"
)

const groupConfig = "configuration"

// probes is the number of processes that try configurations concurrently.
const probes = 3

func configCases() []check {
	const proto, section = "plugin.proto, ConfigProblem.key", "configure"
	return []check{
		{
			group: groupConfig,
			name:  "an unknown key is a problem that names it",
			needs: needsConfig,
			limit: longLimit,
			run:   (*trial).unknownKeys,
			rule: rule{
				text: "Configure refuses a key that it does not know, with the key's dotted path", proto: proto, section: section},
		},
		{
			group: groupConfig,
			name:  "a value of a wrong type is a problem that names its key",
			needs: needsConfig,
			limit: longLimit,
			run:   (*trial).wrongTypes,
			rule: rule{
				text:    "Configure refuses a value that is not of the type in Describe, with the key's dotted path",
				proto:   proto,
				section: section,
			},
		},
		{
			group: groupConfig,
			name:  "a required key that is missing is a problem that names it",
			needs: needsConfig,
			limit: longLimit,
			run:   (*trial).missingKeys,
			rule: rule{
				text:    "Configure refuses a configuration without a key that Describe calls required, with the key's dotted path",
				proto:   proto,
				section: section,
			},
		},
		{
			group: groupConfig,
			name:  "an empty configuration is taken or answered with problems",
			needs: needsConfig,
			run:   (*trial).emptyConfig,
			rule: rule{
				text:    "A configuration that is refused is answered with problems, not with a gRPC error",
				proto:   "plugin.proto, Plugin.Configure",
				section: section,
			},
		},
	}
}

// longLimit is for cases that start many processes.
const longLimit = 2 * time.Minute

// probe is a configuration that must be refused, and the key that a problem must name.
type probe struct {
	what   string
	at     place
	config map[string]any
	// deeper also accepts a problem that names a key below.
	deeper bool
}

// refuses starts a process for each probe and checks that it refuses the configuration.
func (t *trial) refuses(probeList []probe) {
	at := t.site()
	type fault struct{ asked, came, problem string }
	faults := make([]*fault, len(probeList))
	_ = parallel(len(probeList), probes, func(i int) error {
		p := probeList[i]
		problems, err := t.probe(at, p.config)
		asked := "Configure with " + p.what
		switch {
		case err != nil:
			faults[i] = &fault{
				asked,
				errText(err),
				"a refused configuration must be answered with problems, and an error came: " + oneLine(err.Error()),
			}
		case len(problems) == 0:
			faults[i] = &fault{asked, "no problems: the configuration is accepted", "it takes " + p.what}
		case !named(problems, p):
			faults[i] = &fault{asked, "problems: " + problemText(problems), fmt.Sprintf("no problem has the key %q", p.at)}
		default:
			return nil
		}
		return status.Error(codes.Unknown, "fault")
	})
	for _, f := range faults {
		if f != nil {
			t.failAt(f.asked, f.came, "%s", f.problem)
		}
	}
}

// probe tries one configuration in a new plugin instance. It may be called in any goroutine.
func (t *trial) probe(at *site, config map[string]any) ([]*pluginv1.ConfigProblem, error) {
	r, err := t.begin(t.ctx, at, handshake.Versions(), false)
	if err != nil {
		return nil, err
	}
	defer r.kill()
	return t.tryConfigure(r, config)
}

func named(problems []*pluginv1.ConfigProblem, p probe) bool {
	want := p.at.String()
	for _, problem := range problems {
		key := problem.GetKey()
		if key == want || p.deeper && (strings.HasPrefix(key, want+".") || strings.HasPrefix(key, want+"[")) {
			return true
		}
	}
	return false
}

// known returns the paths of the configuration keys in Describe.
func (t *trial) known() []string {
	var paths []string
	for _, key := range t.suite.describe.GetConfigKeys() {
		paths = append(paths, key.GetPath())
	}
	return paths
}

// sample returns the profile's configuration, for a site where nothing is started with it.
func (t *trial) sample() map[string]any {
	config, err := t.config(t.site())
	if err != nil {
		t.skip("%v", err)
	}
	return config
}

func (t *trial) unknownKeys() {
	const name = "plugintest_unknown"
	config := t.sample()
	var list []probe
	for _, block := range blocks(config, t.known()) {
		at := append(append(place{}, block...), name)
		list = append(list, probe{what: fmt.Sprintf("the unknown key %s", at), at: at, config: at.with(config, 1)})
	}
	if len(list) == 0 {
		t.skip("Describe says that any key is known")
	}
	t.refuses(list)
}

// wrongValue returns a value that is wrong for a type.
func wrongValue(keyType string) any {
	switch keyType {
	case "bool":
		return "perhaps"
	case "list":
		return true
	case "string":
		return []any{"plugintest"}
	}
	return "plugintest"
}

func (t *trial) wrongTypes() {
	config := t.sample()
	var list []probe
	for _, key := range t.suite.describe.GetConfigKeys() {
		for _, at := range locate(config, key.GetPath()) {
			wrong := wrongValue(key.GetType())
			what := fmt.Sprintf("%v as %s, which is of type %s", wrong, at, key.GetType())
			if secret, ok := at.get(config).(string); ok && key.GetSecret() {
				wrong = []any{secret} // a problem must not repeat it
				what = fmt.Sprintf("a list as %s, which is of type %s", at, key.GetType())
			}
			list = append(list, probe{what: what, at: at, config: at.with(config, wrong), deeper: true})
		}
	}
	if len(list) == 0 {
		t.skip("Describe names no configuration keys")
	}
	t.refuses(list)
}

func (t *trial) missingKeys() {
	config := t.sample()
	var list []probe
	for _, key := range t.suite.describe.GetConfigKeys() {
		if !key.GetRequired() {
			continue
		}
		for _, at := range locate(config, key.GetPath()) {
			// The keys of an absent block are not required.
			if parent := at[:len(at)-1]; len(parent) == 0 || parent.get(config) != nil {
				list = append(list, probe{what: fmt.Sprintf("the required key %s missing", at), at: at, config: at.without(config)})
			}
		}
	}
	if len(list) == 0 {
		t.skip("Describe names no key as required")
	}
	t.refuses(list)
}

func (t *trial) emptyConfig() {
	r := t.start(t.site())
	t.configure(r, map[string]any{})
}
