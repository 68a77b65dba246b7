package sdk

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

type color string

func (c *color) UnmarshalText(text []byte) error {
	if string(text) != "red" {
		return errors.New("must be red")
	}
	*c = color(text)
	return nil
}

type tlsBlock struct {
	Enabled bool   `config:"enabled" doc:"use TLS"`
	CAFile  string `config:"ca_file" default:"ca.pem"`
}

type testConfig struct {
	Endpoints []string            `config:"endpoints,required" doc:"host:port of each server"`
	Password  string              `config:"password,secret"`
	Timeout   time.Duration       `config:"timeout" default:"3s"`
	Retries   int                 `config:"retries" default:"5"`
	Size      uint16              `config:"size"`
	Ratio     float64             `config:"ratio"`
	TLS       tlsBlock            `config:"tls"`
	Backup    *tlsBlock           `config:"backup"`
	Color     color               `config:"color"`
	Limits    map[string]int      `config:"limits"`
	Sites     map[string]tlsBlock `config:"sites"`
	Users     []tlsBlock          `config:"users"`
	Any       any                 `config:"any"`
	Hidden    string
}

func TestDecodeFillsAStructWithItsDefaults(t *testing.T) {
	var c testConfig
	require.Empty(t, Decode([]byte(`{
		"endpoints": ["a:1", "b:2"], "password": "p", "timeout": "250ms", "size": 7, "ratio": 0.5, "tls": {"enabled": true},
		"backup": {"ca_file": "x"}, "color": "red", "limits": {"a": 1}, "sites": {"s": {"enabled": true}}, "users": [{}], "any": [1]
	}`), &c))
	require.Equal(t, testConfig{
		Endpoints: []string{"a:1", "b:2"}, Password: "p", Timeout: 250 * time.Millisecond, Retries: 5, Size: 7, Ratio: 0.5,
		TLS: tlsBlock{Enabled: true, CAFile: "ca.pem"}, Backup: &tlsBlock{CAFile: "x"}, Color: "red", Limits: map[string]int{"a": 1},
		Sites: map[string]tlsBlock{"s": {Enabled: true, CAFile: "ca.pem"}}, Users: []tlsBlock{{CAFile: "ca.pem"}},
		Any: []any{json.Number("1")},
	}, c)
}

func TestDecodeTakesWhatEnvironmentVariablesCanSay(t *testing.T) {
	var c testConfig
	require.Empty(
		t,
		Decode([]byte(`{"endpoints": ["a"], "retries": "9", "size": "1", "ratio": "0.1", "tls": {"enabled": "true"}, "timeout": "0"}`), &c),
	)
	require.Equal(t, 9, c.Retries)
	require.True(t, c.TLS.Enabled)
	require.Zero(t, c.Timeout)
}

func TestDecodeNamesEveryProblemWithItsKeyAndNoValue(t *testing.T) {
	var c testConfig
	problems := Decode([]byte(`{
		"password": 12345, "pasword": "hunter2", "timeout": "hunter2", "retries": "hunter2", "size": 70000, "ratio": true,
		"tls": {"enabled": "hunter2", "cafile": "hunter2"}, "backup": [], "color": "hunter2", "limits": {"a": "hunter2"},
		"users": [{}, {"nonsense": 1}, "hunter2"], "sites": "hunter2", "Hidden": "hunter2"
	}`), &c)
	got := map[string]string{}
	for _, p := range problems {
		got[p.Key] = p.Message
		require.NotContains(t, p.Message, "hunter2")
		require.NotContains(t, p.Message, "12345")
	}
	for key, want := range map[string]string{
		"endpoints": "is required", "password": "must be a string", "pasword": "did you mean password?",
		"timeout": "must be a duration", "retries": "must be a whole number", "size": "must be a whole number", "ratio": "must be a number",
		"tls.enabled": "must be true or false", "tls.cafile": "did you mean ca_file?", "backup": "must be a block of keys, not a list",
		"color": "must be red", "limits.a": "must be a whole number", "users[1].nonsense": "the keys here are",
		"users[2]": "must be a block of keys", "sites": "must be a block of keys", "Hidden": "unknown key",
	} {
		require.Contains(t, got[key], want, key)
	}
	require.Len(t, got, 16)
}

func TestDecodeRefusesWhatIsNoBlock(t *testing.T) {
	for _, block := range []string{`[`, `[]`, `"x"`, `1`} {
		require.NotEmpty(t, Decode([]byte(block), &testConfig{}), block)
	}
	require.Empty(t, Decode(nil, &tlsBlock{}))
}

func TestConfigKeysDescribeTheStruct(t *testing.T) {
	keys := map[string]*pluginv1.ConfigKey{}
	for _, k := range ConfigKeys(&testConfig{}) {
		keys[k.GetPath()] = k
	}
	require.True(t, keys["endpoints"].GetRequired())
	require.Equal(t, "list", keys["endpoints"].GetType())
	require.Equal(t, "host:port of each server", keys["endpoints"].GetDescription())
	require.True(t, keys["password"].GetSecret())
	require.Equal(t, "duration", keys["timeout"].GetType())
	require.Equal(t, "3s", keys["timeout"].GetDefault())
	require.Equal(t, "bool", keys["tls.enabled"].GetType())
	require.Equal(t, "string", keys["color"].GetType())
	require.Contains(t, keys, "users[].ca_file")
	require.Contains(t, keys, "sites.*.ca_file")
	require.Contains(t, keys, "backup.ca_file")
	require.NotContains(t, keys, "tls")
	require.Nil(t, ConfigKeys(nil))
}

func FuzzDecodeNeverPanics(f *testing.F) {
	f.Add([]byte(`{"endpoints": ["a"], "tls": {"enabled": null}, "users": [null], "limits": {"": 1}}`))
	f.Fuzz(func(t *testing.T, block []byte) {
		var c testConfig
		for _, p := range Decode(block, &c) {
			if strings.TrimSpace(p.Message) == "" {
				t.Fatalf("a problem without a message at %q", p.Key)
			}
		}
	})
}

func TestPathsAreRelativeToTheConfigurationFile(t *testing.T) {
	s := Setup{ConfigDir: "/etc/lmqgate"}
	require.Equal(t, "/etc/lmqgate/a.pem", s.Path("a.pem"))
	require.Equal(t, "/b.pem", s.Path("/b.pem"))
	require.Empty(t, s.Path(""))
}

// bounded is a configuration that checks itself.
type bounded struct {
	Size int `config:"size"`
}

func (b *bounded) Check() []Problem {
	if b.Size > 10 {
		return []Problem{Problemf("size", "must be at most 10")}
	}
	return nil
}

func TestAConfigurationChecksItselfOnceItsTypesAreRight(t *testing.T) {
	for block, want := range map[string][]string{
		`{"size": 10}`:             nil,
		`{"size": 11}`:             {"size"},
		`{"size": 11, "sise": 11}`: {"sise"},
		`{"size": "many"}`:         {"size"},
	} {
		var keys []string
		for _, p := range (Setup{Config: []byte(block)}).Decode(&bounded{}) {
			keys = append(keys, p.Key)
		}
		require.Equal(t, want, keys, block)
	}
}
