package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loadText loads a configuration file with the given text.
func loadText(t *testing.T, text string, sets, environ []string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lmqgate.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return Load(path, sets, environ)
}

func TestAnEmptyFileGivesTheDefaults(t *testing.T) {
	for _, text := range []string{"", "# only a comment\n", "---\n", "null\n", "mqtt:\nlog:\n"} {
		c, err := loadText(t, text, nil, nil)
		require.NoError(t, err, "%q", text)
		require.Equal(t, Default().Listeners, c.Listeners)
		require.Equal(t, Default().MQTT, c.MQTT)
		require.Equal(t, "auth-hmac", c.Auth.Plugin)
		require.Equal(t, "meta-namesrv", c.Meta.Plugin)
		require.Equal(t, PluginConfig{"namesrv": []any{"127.0.0.1:9876"}}, c.Meta.Config)
		require.Equal(t, "rocketmq", c.Store.Type)
		require.Equal(t, []string{"127.0.0.1:9876"}, c.Store.RocketMQ.Namesrv)
		require.False(t, c.Topics.AutoCreate)
		require.Equal(t, "127.0.0.1:8080", c.Admin.Address)
	}
}

func TestALoadWithoutAFileUsesTheWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	c, err := Load("", nil, nil)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(dir, "data"), c.Node.DataDir)
	require.Equal(t, filepath.Join(dir, "data", "store"), c.Store.Local.Path)
}

func TestEveryKeyOfTheSchemaIsRead(t *testing.T) {
	c, err := loadText(t, `
node: {id: gw-1, data_dir: var}
listeners:
  - {type: tcp, address: "127.0.0.1:0"}
  - {type: ws, address: "127.0.0.1:8083", path: /m}
mqtt: {max_packet_size: 64KiB, receive_maximum: 10, max_keep_alive: 120s, session_expiry_max: 0, max_connections: 5, max_topic_levels: 9, sys_interval: 1m, session_owner: client_id}
limits: {client: {inbound_memory: 1MiB, outbound_memory: 2MiB, message_rate: 1, byte_rate: 2, subscribe_rate: 3, outbound_byte_rate: 4, flaps: 10, subscriptions: 11, share: 12, connect_rate: 20}, identity: {share: 13, connections: 26, connect_rate: 21, message_rate: 22, byte_rate: 23, subscribe_rate: 24, outbound_byte_rate: 25}, cluster: {reserve: 14, sessions: 15, filters: 16, retained_messages: 17, topics: 18}, node: {connect_rate: 41, message_rate: 42, byte_rate: 43, subscribe_rate: 44, outbound_byte_rate: 45, memory: 1GiB, filter_memory: 5MiB, subscription_memory: 6MiB, inbound_memory: 3MiB, outbound_memory: 4MiB, unauthenticated: 7, connect_memory: 1MiB}, listener: {unauthenticated: 6, connect_rate: 31, message_rate: 32, byte_rate: 33, subscribe_rate: 34, outbound_byte_rate: 35}, address: {unauthenticated: 5, connections: 56, connect_rate: 6, failed_logins: 7, loopback: true, message_rate: 52, byte_rate: 53, subscribe_rate: 54, outbound_byte_rate: 55}}
auth: {plugin: auth-hmac, config: {users: [{username: u, secret_key: k, rules: [{effect: allow, action: all, topic: "cmd/%c/#"}]}]}}
meta: {plugin: meta-etcd, config: {endpoints: ["127.0.0.1:2379"], prefix: /lmqgate}}
store:
  type: local
  rocketmq: {namesrv: ["a:1", "b:2"], access_key: ak, secret_key: sk, security_token: st, dispatch: lean, producer: remoting, send_timeout: 5s, tls: {enabled: true, ca_file: ca.pem, insecure_skip_verify: true}}
  local: {path: msgs, sync: 1s, retention: 24h}
topics: {queues: 8, max_filters: 7, fallback: fb}
admin: {address: "0.0.0.0:8080", token: tok-of-16-letters, tokens: [{name: grafana, role: viewer, token: a-viewers-token-1}]}
plugins: {dir: pl, checksums: {auth-hmac: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}}
log: {level: debug, format: json}
`, nil, nil)
	require.NoError(t, err)
	require.Equal(t, "gw-1", c.Node.ID)
	require.Equal(t, filepath.Join(c.Dir, "var"), c.Node.DataDir)
	require.Equal(t, []Listener{
		{Type: ListenerTCP, Address: "127.0.0.1:0"},
		{Type: ListenerWS, Address: "127.0.0.1:8083", Path: "/m"},
	}, c.Listeners)
	require.Equal(t, MQTT{MaxPacketSize: 65536, ReceiveMaximum: 10, MaxKeepAlive: 2 * time.Minute, MaxConnections: 5, MaxTopicLevels: 9,
		SysInterval: time.Minute, SessionOwner: OwnerClientID}, c.MQTT)
	require.Equal(t, Limits{
		Client: ClientLimits{InboundMemory: 1 << 20, OutboundMemory: 2 << 20, MessageRate: 1, ByteRate: 2, SubscribeRate: 3, OutboundByteRate: 4,
			Flaps: 10, Subscriptions: 11, Share: 12, ConnectRate: 20},
		Identity: IdentityLimits{Share: 13, Connections: 26, ConnectRate: 21, MessageRate: 22, ByteRate: 23, SubscribeRate: 24, OutboundByteRate: 25},
		Cluster:  ClusterLimits{Reserve: 14, Sessions: 15, Filters: 16, RetainedMessages: 17, Topics: 18},
		Node: NodeLimits{ConnectRate: 41, MessageRate: 42, ByteRate: 43, SubscribeRate: 44, OutboundByteRate: 45,
			FilterMemory: 5 << 20, SubscriptionMemory: 6 << 20, Memory: 1 << 30, InboundMemory: 3 << 20, OutboundMemory: 4 << 20, Unauthenticated: 7, ConnectMemory: 1 << 20},
		Listener: ListenerLimits{Unauthenticated: 6, ConnectRate: 31, MessageRate: 32, ByteRate: 33, SubscribeRate: 34, OutboundByteRate: 35},
		Address: AddressLimits{Unauthenticated: 5, Connections: 56, ConnectRate: 6, FailedLogins: 7, Loopback: true,
			MessageRate: 52, ByteRate: 53, SubscribeRate: 54, OutboundByteRate: 55},
	}, c.Limits)
	require.Equal(t, PluginConfig{"endpoints": []any{"127.0.0.1:2379"}, "prefix": "/lmqgate"}, c.Meta.Config)
	require.Equal(t, RocketMQ{
		Namesrv: []string{"a:1", "b:2"}, AccessKey: "ak", SecretKey: "sk", SecurityToken: "st", Dispatch: "lean", Producer: "remoting",
		SendTimeout: 5 * time.Second,
		TLS:         TLS{Enabled: true, CAFile: filepath.Join(c.Dir, "ca.pem"), InsecureSkipVerify: true},
	}, c.Store.RocketMQ)
	require.Equal(t, Local{Path: filepath.Join(c.Dir, "msgs"), Sync: Sync(time.Second), Retention: 24 * time.Hour}, c.Store.Local)
	require.Equal(t, Topics{AutoCreate: true, Queues: 8, MaxFilters: 7, Fallback: "fb"}, c.Topics)
	require.Equal(t, "tok-of-16-letters", c.Admin.Token.Reveal())
	require.Equal(t, filepath.Join(c.Dir, "pl"), c.Plugins.Dir)
	require.Equal(t, Log{Level: "debug", Format: "json"}, c.Log)
}

func TestTheEnvironmentOverridesTheFileAndSetOverridesBoth(t *testing.T) {
	c, err := loadText(t, "topics: {queues: 2, max_filters: 3, fallback: x}\n",
		[]string{"topics.fallback=fromset", "node.id=1", "store.rocketmq.namesrv=[a:1, b:2]", "auth.config.users=[{username: u, secret_key: k}]"},
		[]string{
			"LMQGATE_TOPICS__MAX_FILTERS=9", "LMQGATE_TOPICS__FALLBACK=fromenv", "LMQGATE_TOPICS__AUTO_CREATE=true",
			"LMQGATE_STORE__ROCKETMQ__ACCESS_KEY=123", "LMQGATE_STORE__ROCKETMQ__SECRET_KEY=456",
			`LMQGATE_META__CONFIG__NAMESRV=["n:1"]`, "LMQGATE_META__CONFIG__ACCESS_KEY=007",
			"LMQGATE_MQTT__SESSION_EXPIRY_MAX=1h", "LMQGATE_MQTT__MAX_PACKET_SIZE=2MiB",
			`LMQGATE_LISTENERS=[{"type":"tcp","address":":0"}]`,
			"LMQGATE_PORT=tcp://10.0.0.1:1883", "LMQGATE_SERVICE_HOST=10.0.0.1", "OTHER=1",
		})
	require.NoError(t, err)
	require.Equal(t, Topics{AutoCreate: true, Queues: 2, MaxFilters: 9, Fallback: "fromset"}, c.Topics)
	require.Equal(t, "1", c.Node.ID)
	require.Equal(t, []string{"a:1", "b:2"}, c.Store.RocketMQ.Namesrv)
	require.Equal(t, "123", c.Store.RocketMQ.AccessKey)
	require.Equal(t, PluginConfig{"namesrv": []any{"n:1"}, "access_key": "007"}, c.Meta.Config)
	require.Equal(t, time.Hour, c.MQTT.SessionExpiryMax)
	require.Equal(t, Size(2<<20), c.MQTT.MaxPacketSize)
	require.Equal(t, []Listener{{Type: ListenerTCP, Address: ":0"}}, c.Listeners)
}

func TestALocalStoreCreatesTopicsUnlessToldNotTo(t *testing.T) {
	c, err := loadText(t, "store: {type: local}\n", nil, nil)
	require.NoError(t, err)
	require.True(t, c.Topics.AutoCreate)
	c, err = loadText(t, "store: {type: local}\ntopics: {auto_create: false}\n", nil, nil)
	require.NoError(t, err)
	require.False(t, c.Topics.AutoCreate)
}

func TestMetadataIsOnTheNameServersOfTheStoreUnlessSaidOtherwise(t *testing.T) {
	c, err := loadText(t, "store: {rocketmq: {namesrv: [\"mq:9876\"]}}\nmeta: {config: {access_key: a}}\n", nil, nil)
	require.NoError(t, err)
	require.Equal(t, PluginConfig{"namesrv": []any{"mq:9876"}, "access_key": "a"}, c.Meta.Config)

	c, err = loadText(t, "meta: {plugin: meta-local}\n", nil, nil)
	require.NoError(t, err)
	require.Empty(t, c.Meta.Config, "another plugin gets none of the default plugin's keys")
}

func TestTheDefaultsAreValidAndBelongToTheCaller(t *testing.T) {
	require.NoError(t, Default().Validate())
	Default().Listeners[0].Address = "changed"
	require.NotEqual(t, "changed", Default().Listeners[0].Address)

	c := Default()
	c.Topics.Queues = 0
	require.EqualError(t, c.Validate(), "topics.queues: 0 is out of range; it wants 1 to 1024")
}

func TestVariablesThatAreNotMeantForTheConfigurationAreLeftAlone(t *testing.T) {
	_, err := Load("", nil, []string{
		"LMQGATE_PORT=tcp://10.0.0.1:1883", "LMQGATE_SERVICE_HOST=10.0.0.1", "LMQGATE_SERVICE_PORT_MQTT=1883",
		"LMQGATE_PORT_1883_TCP=x", "LMQGATE_PORT_1883_TCP_ADDR=x", // a service of the name lmqgate
		"LMQGATE_ADMIN_SERVICE_HOST=10.0.0.1", "LMQGATE_ADMIN_PORT=x", "LMQGATE_MQTT_PORT_1883_TCP_PROTO=tcp", // lmqgate-admin, lmqgate-mqtt
		"LMQGATE_PLUGIN=cookie", "LMQGATE_PASSWORD=secret", "LMQGATE_ROCKETMQ=5.4.0", "LMQGATE_REQUIRE_ROCKETMQ=1", "LMQGATE=x", "LMQGATE_=x",
		"MY_LMQGATE_LOG__LEVL=x",
	})
	require.NoError(t, err)
}
