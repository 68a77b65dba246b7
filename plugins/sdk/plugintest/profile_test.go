package plugintest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAProfileIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), ProfileName)
	require.NoError(t, os.WriteFile(path, []byte(`
config:
  file: ${DIR}/users.yaml
  cache: ["${TMP}/a", 7, true, "$${HOME} ${DIR}"]
allow:
  - {client_id: a, username: u, password: p, mqtt_version: 5, listener: wss, remote_address: "192.0.2.1:5", publish: t, qos: 2, retain: true}
deny:
  - {client_id: b}
  - {client_id: b, subscribe: "#"}
`), 0o600))
	p, err := LoadProfile(path, "config.nested.key=[1, 2]", "config.file=x${DIR}")
	require.NoError(t, err)
	require.Equal(t, filepath.Dir(path), p.Dir)
	text := func(s string) *string { return &s }
	require.Equal(t, []Request{{
		ClientID: "a", Username: text("u"), Password: text("p"), MQTTVersion: 5, Listener: "wss", RemoteAddress: "192.0.2.1:5",
		Publish: text("t"), QoS: 2, Retain: true,
	}}, p.Allow)
	require.Equal(t, Request{ClientID: "b", MQTTVersion: 4, Listener: "tcp", RemoteAddress: "127.0.0.1:50000"}, p.Deny[0])
	require.Equal(t, "#", *p.Deny[1].Subscribe)

	block, err := p.block(places{dir: "/d", tmp: "/t"})
	require.NoError(t, err)
	require.Equal(t, "x/d", block["file"])
	require.Equal(t, []any{"/t/a", "7", "true", "${HOME} /d"}, texts(block["cache"]))
	require.Equal(t, []any{"1", "2"}, texts(block["nested"].(map[string]any)["key"]))
	again, err := p.block(places{dir: "/d2", tmp: "/t2"})
	require.NoError(t, err)
	require.Equal(t, "x/d2", again["file"], "the profile itself keeps its placeholders")
}

// texts formats the values of a list as texts, whatever number type they have.
func texts(v any) []any {
	var out []any
	for _, item := range v.([]any) {
		switch item := item.(type) {
		case string:
			out = append(out, item)
		case bool:
			out = append(out, map[bool]string{true: "true", false: "false"}[item])
		case interface{ String() string }:
			out = append(out, item.String())
		}
	}
	return out
}

func TestAWrongProfileIsToldByItsKeys(t *testing.T) {
	cases := []struct {
		text string
		sets []string
		says []string
	}{
		{text: "a: b: c", says: []string{"not a YAML block of keys"}},
		{text: "- a", says: []string{"not a YAML block of keys"}},
		{text: "confg: {}", says: []string{"confg: unknown key; did you mean config?"}},
		{text: "allow: {}", says: []string{"allow: must be a list"}},
		{text: "allow: [{client_id: 7}]", says: []string{"allow[0].client_id: must be a string, not this number; put it in quotes"}},
		{
			text: "deny: [{clientid: a}, {client_id: a, usrname: b}]",
			says: []string{
				"deny[0].clientid: unknown key; did you mean client_id?",
				"deny[1].usrname: unknown key; did you mean username?",
			},
		},
		{text: "allow: [{client_id: a, publish: t, subscribe: t}]", says: []string{"allow[0]: has publish and subscribe"}},
		{text: "allow: [{client_id: a, qos: 1}]", says: []string{"allow[0]: has qos or retain without publish or subscribe"}},
		{text: "allow: [{client_id: a, publish: t, qos: 3}]", says: []string{"allow[0].qos: must be 0, 1 or 2"}},
		{text: "allow: [{client_id: a, subscribe: t, retain: true}]", says: []string{"allow[0].retain: belongs to publish"}},
		{text: "allow: [{client_id: a, mqtt_version: 311}]", says: []string{"allow[0].mqtt_version: must be 3"}},
		{
			text: "config: {list: [{path: '${HOME}/x'}]}",
			says: []string{"config.list[0].path: ${HOME} is not known; ${DIR} and ${TMP} are, and $${ is a plain ${"},
		},
		{text: "config: {path: '${DIR'}", says: []string{"config.path: ${DIR is not known"}},
		{sets: []string{"config=1"}, says: []string{`"config=1" sets nothing`}},
		{sets: []string{"config..a=1"}, says: []string{"sets nothing"}},
		{sets: []string{"config.a=[1"}, says: []string{"the value of config.a is not YAML"}},
		{text: "config: {a: 1}", sets: []string{"config.a.b=2"}, says: []string{"config.a.b: a is not a block of keys in the profile"}},
	}
	for _, c := range cases {
		_, err := ParseProfile([]byte(c.text), c.sets...)
		require.Error(t, err, c.text)
		for _, says := range c.says {
			require.Contains(t, err.Error(), says)
		}
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := LoadProfile(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "there is no profile")
}

func TestKeysOfDescribeAreFoundInAConfiguration(t *testing.T) {
	config := map[string]any{
		"users":  []any{map[string]any{"name": "a", "rules": []any{map[string]any{"topic": "x"}}}, map[string]any{"name": "b"}},
		"limits": map[string]any{"z": map[string]any{"rate": 1}, "y": map[string]any{"rate": 2}},
		"empty":  []any{},
	}
	for path, want := range map[string]string{
		"users": "users", "users[].name": "users[0].name", "users[].rules[].topic": "users[0].rules[0].topic",
		"limits.*.rate": "limits.y.rate", "tls.ca_file": "tls.ca_file",
	} {
		found := locate(config, path)
		require.Len(t, found, 1, path)
		require.Equal(t, want, found[0].String())
	}
	require.Empty(t, locate(config, "empty[].name"))
	require.Empty(t, locate(config, "none.*.rate"))
	require.Equal(t, 2, locate(config, "limits.*.rate")[0].get(config))

	at := place{"users", 0, "name"}
	changed := at.with(config, 7)
	require.EqualValues(t, 7, at.get(changed))
	require.Equal(t, "a", at.get(config), "the configuration itself stays")
	require.Nil(t, at.get(at.without(config)))
	made := place{"tls", "ca_file"}
	require.Equal(t, "f", made.get(made.with(config, "f")))

	var names []string
	for _, block := range blocks(config, []string{"users", "users[].name", "users[].rules[].topic", "limits.*.rate", "tls.ca_file"}) {
		names = append(names, block.String())
	}
	require.Equal(t, []string{"", "users[0]", "users[0].rules[0]", "limits.y", "tls"}, names)
}

func FuzzParseProfile(f *testing.F) {
	f.Add([]byte("config: {a: '${DIR}'}\nallow: [{client_id: a, publish: t}]\n"), "config.a.b=1")
	f.Add([]byte("deny: [{qos: 3}]"), "config.=")
	f.Fuzz(func(t *testing.T, text []byte, set string) {
		p, err := ParseProfile(text, set)
		if err != nil {
			return
		}
		_, err = p.block(places{dir: "/d", tmp: "/t"})
		require.NoError(t, err, "what was parsed can be filled in")
	})
}
