package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWrongConfigurationIsToldByFileLineAndKey(t *testing.T) {
	cases := []struct {
		name, text string
		sets, env  []string
		want       string // after "FILE", when it begins with ":"
	}{
		{"unknown key", "mqtt:\n  max_packetsize: 1MiB\n", nil, nil, ":2: mqtt.max_packetsize: unknown key; the nearest known key is mqtt.max_packet_size"},
		{"unknown section", "stor: {}\n", nil, nil, ":1: stor: unknown key; the nearest known key is store"},
		{"key one level too high", "auto_create: true\n", nil, nil, ":1: auto_create: unknown key; the nearest known key is topics.auto_create"},
		{"unknown key in a list", "listeners:\n  - type: tcp\n    addr: \":1\"\n", nil, nil, ":3: listeners[0].addr: unknown key; the nearest known key is listeners[].address"},
		{"a key that resembles none", "log: {colour: red}\n", nil, nil, ":1: log.colour: unknown key; the keys of log are level, format"},
		{"a section that resembles none", "kafka: {}\n", nil, nil, ":1: kafka: unknown key; the sections are node, listeners, mqtt, limits, auth, meta, store, topics, events, tracing, admin, plugins, log"},
		{"a misspelt key of another section", "mqtt: {max_filter: 3}\n", nil, nil, ":1: mqtt.max_filter: unknown key; the nearest known key is topics.max_filters"},
		{"number wanted", "mqtt: {receive_maximum: many}", nil, nil, `:1: mqtt.receive_maximum: wants a whole number, not "many"`},
		{"fraction", "topics: {queues: 1.5}", nil, nil, ":1: topics.queues: wants a whole number, not 1.5"},
		{"number of any kind wanted", "tracing: {ratio: often}", nil, nil, `:1: tracing.ratio: wants a number, not "often"`},
		{"ratio", "tracing: {ratio: 1.5}", nil, nil, ":1: tracing.ratio: 1.5 is out of range; it wants 0 to 1"},
		{"no ratio", "tracing: {ratio: .nan}", nil, nil, ":1: tracing.ratio: NaN is out of range; it wants 0 to 1"},
		{"span rate", "tracing: {span_rate: 0}", nil, nil, ":1: tracing.span_rate: 0 is out of range; it wants 1 to 1000000"},
		{"collector without a scheme", "tracing: {endpoint: \"localhost:4317\"}", nil, nil, `:1: tracing.endpoint: "localhost:4317" wants http://host:port or https://host:port, such as http://127.0.0.1:4317`},
		{"collector without a port", "tracing: {endpoint: \"http://localhost\"}", nil, nil, `:1: tracing.endpoint: "http://localhost" wants http://host:port or https://host:port, such as http://127.0.0.1:4317`},
		{"collector with a path", "tracing: {endpoint: \"http://localhost:4317/v1/traces\"}", nil, nil, `:1: tracing.endpoint: "http://localhost:4317/v1/traces" wants http://host:port or https://host:port, such as http://127.0.0.1:4317`},
		{"port of OTLP over HTTP", "tracing: {endpoint: \"http://localhost:4318\"}", nil, nil, `:1: tracing.endpoint: port 4318 is for OTLP over HTTP; spans are sent over gRPC, for which collectors listen on 4317`},
		{"list wanted", "listeners: tcp", nil, nil, `:1: listeners: wants a list, not "tcp"`},
		{"section wanted", "mqtt: 5", nil, nil, ":1: mqtt: wants keys and values, not 5"},
		{"text wanted", "node: {id: 7}", nil, nil, ":1: node.id: wants text, not 7; put it in quotes"},
		{"secret not shown", "admin: {token: 1234}", nil, nil, ":1: admin.token: wants text; put the value in quotes"},
		{"boolean wanted", "topics: {auto_create: \"yes\"}", nil, nil, `:1: topics.auto_create: wants true or false, not "yes"`},
		{"size", "mqtt: {max_packet_size: 1 lot}", nil, nil, `:1: mqtt.max_packet_size: "1 lot" is no size: write bytes, or a whole number with KiB, MiB or GiB, such as 1MiB`},
		{"size range", "mqtt: {max_packet_size: 1GiB}", nil, nil, ":1: mqtt.max_packet_size: 1073741824 is out of range; it wants 64 to 268435460"},
		{"duration", "mqtt: {session_expiry_max: 3 days}", nil, nil, `:1: mqtt.session_expiry_max: "3 days" is no duration: write a number with ms, s, m or h, such as 90s or 72h`},
		{"duration range", "mqtt: {max_keep_alive: 48h}", nil, nil, ":1: mqtt.max_keep_alive: 48h is out of range; it wants 1s to 18h12m15s, or 0"},
		{"listener type", "listeners: [{type: quic, address: \":1\"}]", nil, nil, `:1: listeners[0].type: "quic" wants tcp, tls, ws, wss or unix`},
		{"listener without type", "listeners:\n  - address: \":1\"", nil, nil, ":2: listeners[0].type: it is empty and wants tcp, tls, ws, wss or unix"},
		{"no listener", "listeners: []", nil, nil, ":1: listeners: wants at least one listener"},
		{"empty element", "listeners: [null]", nil, nil, ":1: listeners[0]: is empty"},
		{"address", "listeners: [{type: tcp, address: localhost}]", nil, nil, `:1: listeners[0].address: "localhost" wants host:port, such as 127.0.0.1:1883 or :1883`},
		{"port", "listeners: [{type: tcp, address: \":70000\"}]", nil, nil, `:1: listeners[0].address: ":70000" wants a port from 0 to 65535`},
		{"no certificate", "listeners: [{type: tls, address: \":1\", key_file: k}]", nil, nil, ":1: listeners[0].cert_file: wants a PEM file, because the listener's type is tls"},
		{"certificate on tcp", "listeners: [{type: tcp, address: \":1\", cert_file: k}]", nil, nil, ":1: listeners[0].cert_file: is for tls and wss only; the listener's type is tcp"},
		{"path on tcp", "listeners: [{type: tcp, address: \":1\", path: /m}]", nil, nil, ":1: listeners[0].path: is for ws, wss and unix only; a tcp listener has no path"},
		{"path", "listeners: [{type: ws, address: \":1\", path: mqtt}]", nil, nil, `:1: listeners[0].path: "mqtt" wants an HTTP path, such as /mqtt`},
		{"socket without a path", "listeners: [{type: unix}]", nil, nil, ":1: listeners[0].path: wants a socket file, such as /run/lmqgate/mqtt.sock, because the listener's type is unix"},
		{"socket with an address", "listeners: [{type: unix, path: s, address: \":1\"}]", nil, nil, ":1: listeners[0].address: is not for unix, which listens on the socket file path"},
		{"socket twice", "listeners: [{type: unix, path: /s}, {type: unix, path: /s}]", nil, nil, `:1: listeners[1].path: "/s" is taken by listeners[0]`},
		{"long socket path", "listeners: [{type: unix, path: /" + strings.Repeat("s", 96) + "}]", nil, nil, `:1: listeners[0].path: "/` + strings.Repeat("s", 79) + `…" is too long for a socket file; it wants at most 96 bytes`},
		{"permissions", "listeners: [{type: unix, path: /s, permissions: \"rw\"}]", nil, nil, `:1: listeners[0].permissions: "rw" wants permissions in octal, such as "0600" or "0660"`},
		{"permissions on tcp", "listeners: [{type: tcp, address: \":1\", permissions: \"0600\"}]", nil, nil, ":1: listeners[0].permissions: is for unix only; the listener's type is tcp"},
		{"TLS version", "listeners: [{type: tls, address: \":0\", cert_file: lmqgate.yaml, key_file: lmqgate.yaml, tls_min_version: \"1.1\"}]\nauth: {plugin: none}", nil, nil, `:1: listeners[0].tls_min_version: "1.1" wants 1.2 or 1.3`},
		{"TLS version on ws", "listeners: [{type: ws, address: \":0\", tls_min_version: \"1.2\"}]\nauth: {plugin: none}", nil, nil, ":1: listeners[0].tls_min_version: is for tls and wss only; the listener's type is ws"},
		{"client certificates", "listeners: [{type: tls, address: \":0\", cert_file: lmqgate.yaml, key_file: lmqgate.yaml, client_cert: required}]\nauth: {plugin: none}", nil, nil, ":1: listeners[0].client_cert: goes with client_ca_file, which is not set"},
		{"origin", "listeners: [{type: ws, address: \":0\", allowed_origins: [\"https://app.example.com/page\"]}]\nauth: {plugin: none}", nil, nil, `:1: listeners[0].allowed_origins[0]: "https://app.example.com/page" wants an origin, such as https://app.example.com, or *`},
		{"origins on tcp", "listeners: [{type: tcp, address: \":0\", allowed_origins: [\"*\"]}]\nauth: {plugin: none}", nil, nil, ":1: listeners[0].allowed_origins: is for ws and wss only; the listener's type is tcp"},
		{"proxy network", "listeners: [{type: tcp, address: \":0\", proxy_protocol: {from: [lb.example.com]}}]\nauth: {plugin: none}", nil, nil, `:1: listeners[0].proxy_protocol.from[0]: "lb.example.com" wants an address or a network, such as 10.0.0.0/8`},
		{"proxy on a socket", "listeners: [{type: unix, path: /s, proxy_protocol: {from: [127.0.0.1]}}]", nil, nil, ":1: listeners[0].proxy_protocol.from: is not for unix, whose clients have no addresses"},
		{"server reference", "mqtt: {server_reference: \"a\\0\"}", nil, nil, ":1: mqtt.server_reference: wants UTF-8 text without U+0000"},
		{"address twice", "listeners: [{type: tcp, address: \"127.0.0.1:1\"}, {type: ws, address: \":1\"}]", nil, nil, `:1: listeners[1].address: ":1" is taken by listeners[0]`},
		{"admin on a listener", "admin: {address: \"127.0.0.1:1883\"}", nil, nil, `:1: admin.address: "127.0.0.1:1883" is taken by listeners[0]`},
		{"open admin without token", "admin: {address: \":8080\"}", nil, nil, `:1: admin.token: wants a token, because admin.address ":8080" is not a loopback address`},
		{"short token", "admin: {token: sesame}", nil, nil, ":1: admin.token: has 6 bytes; a token that cannot be guessed has at least 16, such as the output of: openssl rand -hex 16"},
		{"half a certificate of the admin side", "admin: {cert_file: lmqgate.yaml}", nil, nil, ":1: admin.cert_file: cert_file and key_file go together: set both or none"},
		{"time to start", "plugins: {start_timeout: 0}", nil, nil, ":1: plugins.start_timeout: 0 is out of range; it wants 1s to 10m"},
		{"open listener with the default user", "listeners: [{type: tcp, address: \":1883\"}]", nil, nil, ": auth.config.users[0].secret_key: everybody knows the secret key demo-secret, and listeners[0] (:1883) is open to other machines: choose a secret key of your own, such as the output of: openssl rand -hex 16"},
		{"open listener with the demonstration user written out", "listeners: [{type: tcp, address: \"127.0.0.1:1\"}, {type: ws, address: \"0.0.0.0:2\"}]\nauth:\n  config:\n    users:\n    - {username: a, secret_key: of-my-own}\n    - {username: b, secret_key: demo-secret}\n", nil, nil, ":6: auth.config.users[1].secret_key: everybody knows the secret key demo-secret, and listeners[1] (0.0.0.0:2) is open to other machines: choose a secret key of your own, such as the output of: openssl rand -hex 16"},
		{"plugin path", "auth: {plugin: ../sh}", nil, nil, `:1: auth.plugin: "../sh" wants the file name of a plugin, such as auth-hmac`},
		{"plugin block", "auth: {config: [1]}", nil, nil, ":1: auth.config: wants keys and values for the plugin, not a list"},
		{"no meta", "meta: {plugin: none}", nil, nil, ":1: meta.plugin: wants a meta plugin; only auth.plugin can be none"},
		{"a next meta plugin without a name", "meta: {next: {config: {endpoints: [\"e:1\"]}}}", nil, nil, ":1: meta.next.plugin: is missing: meta.next.config is of which plugin?"},
		{"checksum", "plugins: {checksums: {auth-hmac: abc}}", nil, nil, `:1: plugins.checksums.auth-hmac: "abc" wants sha256: and 64 hexadecimal digits`},
		{"store", "store: {type: kafka}", nil, nil, `:1: store.type: "kafka" wants rocketmq or local`},
		{"sync", "store: {local: {sync: sometimes}}", nil, nil, `:1: store.local.sync: "sometimes" is neither always nor an interval such as 1s`},
		{"half a credential", "store: {rocketmq: {access_key: a}}", nil, nil, ":1: store.rocketmq.access_key: access_key and secret_key go together: set both or none"},
		{"name server", "store: {rocketmq: {namesrv: [mq]}}", nil, nil, `:1: store.rocketmq.namesrv[0]: "mq" wants host:port, such as 127.0.0.1:9876`},
		{"events without a topic", "events: {mqtt: true}", nil, nil, `:1: events.mqtt: wants events.topic, which keeps the events`},
		{"topic of events", "events: {topic: lmqgate_x}", nil, nil,
			`:1: events.topic: "lmqgate_x" wants a RocketMQ topic: 1 to 127 of letters, digits, '_' and '-', not beginning with lmqgate_`},
		{"topic of events, and of others", "events: {topic: x}\ntopics: {fallback: x}", nil, nil,
			`:1: events.topic: "x" is topics.fallback, where clients publish; events want a topic of their own`},
		{"fallback", "topics: {fallback: a.b}", nil, nil, `:1: topics.fallback: "a.b" wants a RocketMQ topic: 1 to 127 of letters, digits, '_' and '-'`},
		{"no regular file", "listeners: [{type: tls, address: \":0\", cert_file: /dev/null, key_file: lmqgate.yaml}]\nauth: {plugin: none}", nil, nil, ":1: listeners[0].cert_file: /dev/null is a device, not a regular file; put a file with the content in its place"},
		{"missing file", "listeners: [{type: tls, address: \":0\", cert_file: /nowhere/c, key_file: lmqgate.yaml}]\nauth: {plugin: none}", nil, nil, ":1: listeners[0].cert_file: open /nowhere/c: no such file or directory"},
		{"not a map", "- a", nil, nil, `: line 1: the file wants keys and values, such as "node:"`},
		{"two documents", "log: {}\n---\nlog: {}\n", nil, nil, ": line 2: a second document begins; a configuration file holds one"},
		{"a bracket that is missing", "log: {level: info\nnode: {}", nil, nil, ": line 1: did not find expected ',' or '}'; look there and on the next line for a missing bracket, quote, colon or indentation"},
		{"a tab", "mqtt:\n\tkeep_alive: 1", nil, nil, ": line 2: found character that cannot start any token; YAML is indented by spaces, not by tabs, and a text that begins with a special character wants quotes"},
		{"broken YAML", "log: {level: [", nil, nil, ": line 1: did not find expected node content; look there and on the next line for a missing bracket, quote, colon or indentation"},
		{"key twice", "log: {}\nlog: {}\n", nil, nil, `: line 2: mapping key "log" already defined at line 1`},
		{"set without value", "", []string{"log.level"}, nil, `--set "log.level": wants key=value, such as log.level=debug`},
		{"set of an unknown key", "", []string{"log.lvl=debug"}, nil, "--set: log.lvl: unknown key; the nearest known key is log.level"},
		{"set of a wrong type", "", []string{"listeners.0.address=:1"}, nil, "--set: listeners: wants a list, not keys and values"},
		{"set that is not YAML", "", []string{"log.level=["}, nil, "--set: log.level: the value is not YAML; put it in quotes"},
		{"variable of an unknown key", "", nil, []string{"LMQGATE_LOG__LEVL=debug"}, "LMQGATE_LOG__LEVL: log.levl: unknown key; the nearest known key is log.level"},
		{"variable with one underscore", "", nil, []string{"LMQGATE_LOG_LEVEL=debug"}, "LMQGATE_LOG_LEVEL: is no key: levels are divided by two underscores; write LMQGATE_LOG__LEVEL"},
		{"variable with one underscore too few", "", nil, []string{"LMQGATE_STORE_ROCKETMQ_ACCESS_KEY=a"}, "LMQGATE_STORE_ROCKETMQ_ACCESS_KEY: is no key: levels are divided by two underscores; write LMQGATE_STORE__ROCKETMQ__ACCESS_KEY"},
		{"variable of a mistyped key with one underscore", "", nil, []string{"LMQGATE_ADMIN_TOKN=a"}, "LMQGATE_ADMIN_TOKN: is no key: levels are divided by two underscores; write LMQGATE_ADMIN__TOKEN"},
		{"variable of a plugin's key with one underscore", "", nil, []string{"LMQGATE_META_CONFIG_PASSWORD=a"}, "LMQGATE_META_CONFIG_PASSWORD: is no key: levels are divided by two underscores; write LMQGATE_META__CONFIG__PASSWORD"},
		{"variable of a section that resembles no key", "", nil, []string{"LMQGATE_MQTT_XYZZY=a"}, "LMQGATE_MQTT_XYZZY: is no key: levels are divided by two underscores, such as LMQGATE_STORE__ROCKETMQ__ACCESS_KEY"},
		{"variable of a mistyped section", "", nil, []string{"LMQGATE_LOGS__LEVEL=debug"}, "LMQGATE_LOGS__LEVEL: logs: unknown key; the nearest known key is log"},
		{"variable of a wrong type", "", nil, []string{"LMQGATE_TOPICS__QUEUES=few"}, `LMQGATE_TOPICS__QUEUES: topics.queues: wants a whole number, not "few"`},
		{"variable that is not JSON", "", nil, []string{"LMQGATE_STORE__ROCKETMQ__NAMESRV=a:1;b:1"}, `LMQGATE_STORE__ROCKETMQ__NAMESRV: store.rocketmq.namesrv: wants JSON, such as ["a","b"] for a list`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.yaml")
			require.NoError(t, os.WriteFile(path, []byte(c.text), 0o600))
			_, err := Load(path, c.sets, c.env)
			require.Error(t, err)
			list := Problems(err)
			require.NotEmpty(t, list, "%v", err)
			require.Equal(t, c.want, strings.TrimPrefix(list[0].String(), path))
		})
	}
}

func TestAllProblemsAreReportedEachOnce(t *testing.T) {
	_, err := loadText(t, "mqtt: {receive_maximum: x, nope: 1}\nlog: {level: loud}\nstore: {type: 5}\n", nil, nil)
	require.Error(t, err)
	require.Len(t, Problems(err), 4, "%v", err)
	require.Len(t, strings.Split(err.Error(), "\n"), 4)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Contains(t, e.Summary(), "(and 3 more)")
	require.NotContains(t, e.Summary(), "\n")
}

func TestAMissingFileIsAnErrorWithItsName(t *testing.T) {
	_, err := Load("/nowhere/lmqgate.yaml", nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "/nowhere/lmqgate.yaml")
}

func TestFilesThatNoTLSCanUseAreToldByKey(t *testing.T) {
	c, err := loadText(t, "admin: {cert_file: lmqgate.yaml, key_file: lmqgate.yaml}\nstore:\n  rocketmq: {tls: {enabled: true, ca_file: lmqgate.yaml}}\n", nil, nil)
	require.NoError(t, err)
	list := Problems(c.CheckTLS())
	require.Len(t, list, 2)
	require.Equal(t, c.Path+":1: admin.cert_file: certificate "+c.Path+" with key "+c.Path+": failed to find any PEM data in certificate input", list[0].String())
	require.Equal(t, c.Path+":3: store.rocketmq.tls.ca_file: "+c.Path+" holds no certificate in PEM form", list[1].String())
}

func TestProblemsShowNoPasswordOfAURL(t *testing.T) {
	for _, text := range []string{
		"tracing: {endpoint: \"http://user:geheim@collector:4317\"}",
		"tracing: {endpoint: \"http://user:ge%zzheim@collector:4317\"}",
		"tracing: {endpoint: \"collector:4317/?key=geheim\"}",
		"tracing: {endpoint: \"https://collector:4317/?key=geheim\"}",
		"tracing: {ratio: \"http://user:geheim@collector:4317\"}",
		"store: {rocketmq: {namesrv: [\"http://user:geheim@n:9876\"]}}",
		"store: {rocketmq: {namesrv: [\"user:geheim@n:9876\"]}}",
		"admin: {address: \"http://user:geheim@127.0.0.1:8080\"}",
		"listeners: [{type: tcp, address: \"tcp://user:geheim@127.0.0.1:1883\"}]",
		"listeners: [{type: tcp, address: \":1\", proxy_protocol: {from: [\"http://user:geheim@10.0.0.1\"]}}]",
		"listeners: [{type: ws, address: \":1\", allowed_origins: [\"://user:geheim@page\"]}]",
	} {
		_, err := loadText(t, text, nil, nil)
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "heim", text)
	}
	_, err := loadText(t, "", []string{"tracing.endpoint=http://user:geheim@collector"}, nil)
	require.ErrorContains(t, err, "xxxxx@collector")
	require.NotContains(t, err.Error(), "geheim")
	_, err = loadText(t, "", nil, []string{"LMQGATE_TRACING__ENDPOINT=http://user:geheim@collector"})
	require.ErrorContains(t, err, "xxxxx@collector")
	require.NotContains(t, err.Error(), "geheim")
}

func TestAFileThatIsNotThereNamesTheRemedy(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "nowhere.yaml"), nil, nil)
	require.ErrorContains(t, err, "nowhere.yaml: no such file or directory; give the path of one, such as conf/standalone.yaml")
}
