package plugintest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	goyaml "go.yaml.in/yaml/v3"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// ProfileName is the name of the profile beside an executable.
const ProfileName = "plugintest.yaml"

// Profile is the input of a test of a plugin. Its YAML form has the keys of the tags below; unknown keys are errors.
type Profile struct {
	// Config is the plugin's block of the gateway's configuration. In its texts ${DIR} stands for the profile's directory and
	// ${TMP} for a temporary directory that lives as long as the data directory; $${ is a plain ${.
	Config map[string]any `config:"config"`
	// Allow and Deny are sample requests that an auth plugin allows and denies with Config.
	Allow []Request `config:"allow"`
	Deny  []Request `config:"deny"`

	// Dir is the absolute directory that relative paths in Config are relative to; LoadProfile sets it to the file's. Empty:
	// the plugin's data directory.
	Dir string
}

// Request is a sample: a CONNECT, or, with Publish or Subscribe, an action of a client whose CONNECT must be admitted first.
type Request struct {
	ClientID string `config:"client_id"`
	// Username and Password are nil if the CONNECT has none.
	Username      *string `config:"username"`
	Password      *string `config:"password"`
	MQTTVersion   uint32  `config:"mqtt_version" default:"4"`
	Listener      string  `config:"listener" default:"tcp"`
	RemoteAddress string  `config:"remote_address" default:"127.0.0.1:50000"`
	// Publish is a topic name, Subscribe a topic filter; at most one is set.
	Publish   *string `config:"publish"`
	Subscribe *string `config:"subscribe"`
	QoS       uint32  `config:"qos"`
	Retain    bool    `config:"retain"`
}

// LoadProfile reads a profile. Each set is KEY=VALUE, with a dotted key below config (missing parents are created) and a value in YAML, as
// in "config.endpoints=[127.0.0.1:2379]"; it overrides the file. The error names the file and every wrong key.
func LoadProfile(path string, sets ...string) (Profile, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return Profile{}, err
	}
	text, err := os.ReadFile(abs)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Profile{}, fmt.Errorf("there is no profile %s", path)
		}
		return Profile{}, fmt.Errorf("profile %s cannot be read: %w", path, err)
	}
	p, err := ParseProfile(text, sets...)
	if err != nil {
		return Profile{}, fmt.Errorf("profile %s: %w", path, err)
	}
	p.Dir = filepath.Dir(abs)
	return p, nil
}

// ParseProfile is LoadProfile for a profile that is not in a file. Dir is left empty.
func ParseProfile(text []byte, sets ...string) (Profile, error) {
	var doc map[string]any
	if err := goyaml.Unmarshal(text, &doc); err != nil {
		return Profile{}, fmt.Errorf("it is not a YAML block of keys: %s", oneLine(err.Error()))
	}
	if doc == nil {
		doc = map[string]any{}
	}
	for _, set := range sets {
		if err := apply(doc, set); err != nil {
			return Profile{}, err
		}
	}
	block, err := json.Marshal(doc)
	if err != nil {
		return Profile{}, fmt.Errorf("it holds a key that is no text: %w", err)
	}
	var p Profile
	problems := sdk.Decode(block, &p)
	if len(problems) == 0 {
		problems = p.check()
	}
	if len(problems) > 0 {
		var lines []string
		for _, problem := range problems {
			lines = append(lines, strings.TrimPrefix(problem.Key+": "+problem.Message, ": "))
		}
		return Profile{}, errors.New(strings.Join(lines, "; "))
	}
	return p, nil
}

// apply applies one KEY=VALUE to a profile.
func apply(doc map[string]any, set string) error {
	key, text, ok := strings.Cut(set, "=")
	path := strings.Split(key, ".")
	if !ok || len(path) < 2 || path[0] != "config" || slices.Contains(path, "") {
		return fmt.Errorf("%q sets nothing; write config.KEY=VALUE", set)
	}
	var v any
	if err := goyaml.Unmarshal([]byte(text), &v); err != nil {
		return fmt.Errorf("the value of %s is not YAML: %s", key, oneLine(err.Error()))
	}
	for _, name := range path[:len(path)-1] {
		inner, isMap := doc[name].(map[string]any)
		if doc[name] != nil && !isMap {
			return fmt.Errorf("%s: %s is not a block of keys in the profile", key, name)
		}
		if inner == nil {
			inner = map[string]any{}
			doc[name] = inner
		}
		doc = inner
	}
	doc[path[len(path)-1]] = v
	return nil
}

// check checks the rules that the types cannot express.
func (p *Profile) check() (problems []sdk.Problem) {
	for _, list := range []struct {
		key      string
		requests []Request
	}{{"allow", p.Allow}, {"deny", p.Deny}} {
		for i, r := range list.requests {
			key := fmt.Sprintf("%s[%d]", list.key, i)
			switch {
			case r.Publish != nil && r.Subscribe != nil:
				problems = append(problems, sdk.Problemf(key, "has publish and subscribe; write a request for each"))
			case r.Publish == nil && r.Subscribe == nil && (r.QoS != 0 || r.Retain):
				problems = append(problems, sdk.Problemf(key, "has qos or retain without publish or subscribe"))
			case r.Subscribe != nil && r.Retain:
				problems = append(problems, sdk.Problemf(key+".retain", "belongs to publish"))
			case r.QoS > 2:
				problems = append(problems, sdk.Problemf(key+".qos", "must be 0, 1 or 2"))
			case r.MQTTVersion < 3 || r.MQTTVersion > 5:
				problems = append(problems, sdk.Problemf(key+".mqtt_version", "must be 3 (MQTT 3.1), 4 (3.1.1) or 5"))
			}
		}
	}
	if _, err := p.expand(p.Config, "config", places{}); err != nil {
		problems = append(problems, sdk.Problemf("", "%v", err))
	}
	return problems
}

// places are the values of a configuration's placeholders.
type places struct{ dir, tmp string }

// block returns the configuration in the form that Configure takes.
func (p *Profile) block(at places) (map[string]any, error) {
	v, err := p.expand(p.Config, "config", at)
	if err != nil {
		return nil, err
	}
	if m, ok := v.(map[string]any); ok && m != nil {
		return m, nil
	}
	return map[string]any{}, nil
}

// expand copies a value and replaces the placeholders in its texts.
func (p *Profile) expand(v any, key string, at places) (any, error) {
	switch v := v.(type) {
	case string:
		return fill(v, key, at)
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			var err error
			if out[i], err = p.expand(item, fmt.Sprintf("%s[%d]", key, i), at); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			var err error
			if out[name], err = p.expand(v[name], key+"."+name, at); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func fill(text, key string, at places) (string, error) {
	var out strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), nil
		}
		if i > 0 && text[i-1] == '$' {
			out.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[i+2:], "}")
		out.WriteString(text[:i])
		switch {
		case closed && name == "DIR":
			out.WriteString(at.dir)
		case closed && name == "TMP":
			out.WriteString(at.tmp)
		default:
			if closed {
				name += "}"
			}
			return "", fmt.Errorf("%s: ${%s is not known; ${DIR} and ${TMP} are, and $${ is a plain ${", key, name)
		}
		text = rest
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
