package config

import (
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
)

// The plugins that are used when the configuration names none.
const (
	DefaultAuthPlugin = "auth-hmac"
	DefaultMetaPlugin = "meta-namesrv"
)

// DefaultWSPath is the path of a WebSocket listener that names none.
const DefaultWSPath = "/mqtt"

// DefaultStartTimeout bounds the time until a plugin's handshake. Runtimes of other languages load slowly on a busy machine.
const DefaultStartTimeout = time.Minute

// DemoUser and DemoSecret are the credentials in the default configuration and in the files of conf/, for trying the gateway on one
// machine.
const (
	DemoUser   = "demo"
	DemoSecret = "demo-secret"
)

// DefaultPermissions are the permissions of a socket file whose listener sets none.
const DefaultPermissions = "0600"

// Default returns the configuration of an empty file, before paths are made absolute. Each call returns a new value.
func Default() *Config {
	return &Config{
		Node: Node{DataDir: "data", Lease: 10 * time.Second},
		Listeners: []Listener{
			{Type: ListenerTCP, Address: "127.0.0.1:1883"},
			{Type: ListenerWS, Address: "127.0.0.1:8083", Path: DefaultWSPath},
		},
		MQTT: MQTT{
			MaxPacketSize:    1 << 20,
			ReceiveMaximum:   1024,
			SessionExpiryMax: 72 * time.Hour,
			MaxTopicLevels:   128,
			SysInterval:      10 * time.Second,
			SessionOwner:     OwnerIdentity,
		},
		Limits: Limits{
			Client: ClientLimits{InboundMemory: 4 << 20, OutboundMemory: 1 << 20, Flaps: 600, Subscriptions: 10_000,
				Share: limits.ClientShare},
			Identity: IdentityLimits{Share: limits.IdentityShare},
			Cluster: ClusterLimits{Reserve: limits.Reserve, Sessions: 1_000_000, Filters: 1_000_000, RetainedMessages: 1_000_000,
				Topics: 10_000},
			Node:    NodeLimits{ConnectMemory: 16 << 20},
			Address: AddressLimits{ConnectRate: 200, FailedLogins: 50},
		},
		Auth: Auth{Plugin: DefaultAuthPlugin},
		Meta: Meta{Plugin: DefaultMetaPlugin},
		Store: Store{
			Type:     StoreRocketMQ,
			RocketMQ: RocketMQ{Namesrv: []string{"127.0.0.1:9876"}, Dispatch: DispatchAuto, Producer: ProducerRemoting, SendTimeout: 3 * time.Second},
			Local:    Local{Retention: 72 * time.Hour},
		},
		Topics:  Topics{Queues: 4, MaxFilters: 100_000},
		Tracing: Tracing{Ratio: 0.01, SpanRate: 1000},
		Admin:   Admin{Address: "127.0.0.1:8080"},
		Plugins: Plugins{StartTimeout: DefaultStartTimeout, MemoryLimit: 1 << 30},
		Log:     Log{Level: "info", Format: LogText},
	}
}

// applyDerived fills in the defaults that depend on other values. isSet tells
// whether a key was given.
func (c *Config) applyDerived(isSet func(key string) bool) {
	if !isSet("topics.auto_create") {
		c.Topics.AutoCreate = c.Store.Type == StoreLocal
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Type.WebSocket() && l.Path == "" {
			l.Path = DefaultWSPath
		}
		if l.Type == ListenerUnix && l.Permissions == "" {
			l.Permissions = DefaultPermissions
		}
	}
	if c.Auth.Anonymous() {
		c.Auth.Config = nil
	}
	// The demo user is for loopback only: see validateDemo.
	if c.Auth.Plugin == DefaultAuthPlugin && !isSet("auth.config") {
		c.Auth.Config = demoUser()
	}
	// The metadata is on the same RocketMQ as the messages unless said otherwise.
	c.Meta.Config = c.withNamesrv(c.Meta.Plugin, c.Meta.Config)
	c.Meta.Next.Config = c.withNamesrv(c.Meta.Next.Plugin, c.Meta.Next.Config)
}

// withNamesrv adds the store's name servers to a block of meta-namesrv that names none.
func (c *Config) withNamesrv(plugin string, block PluginConfig) PluginConfig {
	if plugin != DefaultMetaPlugin || block["namesrv"] != nil {
		return block
	}
	merged := PluginConfig{"namesrv": anySlice(c.Store.RocketMQ.Namesrv)}
	for k, v := range block {
		if k != "namesrv" {
			merged[k] = v
		}
	}
	return merged
}

func demoUser() PluginConfig {
	return PluginConfig{"users": []any{
		map[string]any{"username": DemoUser, "secret_key": DemoSecret},
	}}
}

func anySlice(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}
