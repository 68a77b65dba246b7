package config

import "time"

// Config is the whole configuration. The yaml tag of a field is its key; the
// comment of a field is its entry in docs/configuration.md, which a test keeps
// in step.
type Config struct {
	// This gateway process as a node of the cluster.
	Node Node `yaml:"node"`
	// Where MQTT clients connect; at least one. A list replaces the default list.
	Listeners []Listener `yaml:"listeners"`
	// Limits of the MQTT protocol side.
	MQTT MQTT `yaml:"mqtt"`
	// Limits of what one client, identity, address or listener may use.
	Limits Limits `yaml:"limits"`
	// Who may connect, publish and subscribe: the auth plugin.
	Auth Auth `yaml:"auth"`
	// Where metadata is stored: the meta plugin.
	Meta Meta `yaml:"meta"`
	// Where messages are stored.
	Store Store `yaml:"store"`
	// First-level topics and the filters below them.
	Topics Topics `yaml:"topics"`
	// What programs are told of clients and sessions.
	Events Events `yaml:"events"`
	// OpenTelemetry traces of messages.
	Tracing Tracing `yaml:"tracing"`
	// The HTTP side: health, metrics, API.
	Admin Admin `yaml:"admin"`
	// Where plugin executables are, and which of them are trusted.
	Plugins Plugins `yaml:"plugins"`
	// The log, which goes to standard error.
	Log Log `yaml:"log"`

	// Path is the file that this configuration was read from; empty without one.
	Path string `yaml:"-"`
	// Dir is the absolute directory that relative paths are relative to: that
	// of the configuration file, or the working directory without a file.
	Dir string `yaml:"-"`

	// sources has the source of each key; see Where.
	sources []map[string]string
	// secretKeys are the keys of secrets in the file; see CheckPrivate.
	secretKeys []string
}

// Node identifies this gateway process and says where it keeps its files.
type Node struct {
	// Name of this node in the cluster: unique, 1 to 64 of letters, digits, `.`, `_` and `-`. Empty: generated from the host name and stored in `data_dir`.
	ID string `yaml:"id"`
	// Directory for the files of this node: its generated id, the local store, and files of plugins. Created if missing.
	DataDir string `yaml:"data_dir"`
	// How long the other nodes wait for a node that does not answer before its clients may connect elsewhere; between 2s and 10s. A node that cannot read its inbox for most of this time suspends its sessions.
	Lease time.Duration `yaml:"lease"`
	// Time over which a node that is stopped (SIGTERM, SIGINT) evenly disconnects its clients before it exits; up to 1h. `0`: at once. `lmqgate drain` has a time of its own.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// ListenerType is the transport of MQTT on a listener.
type ListenerType string

// The listener types.
const (
	ListenerTCP ListenerType = "tcp"
	ListenerTLS ListenerType = "tls"
	ListenerWS  ListenerType = "ws"
	ListenerWSS ListenerType = "wss"
	// ListenerUnix is a socket file, for clients on the same machine.
	ListenerUnix ListenerType = "unix"
)

// Encrypted reports whether the listener speaks TLS.
func (t ListenerType) Encrypted() bool { return t == ListenerTLS || t == ListenerWSS }

// WebSocket reports whether the listener carries MQTT in WebSocket frames.
func (t ListenerType) WebSocket() bool { return t == ListenerWS || t == ListenerWSS }

// Listener is one address where MQTT clients connect.
type Listener struct {
	// Transport of MQTT: `tcp`, `tls`, `ws` (WebSocket), `wss` (WebSocket over TLS) or `unix` (a socket file). Required.
	Type ListenerType `yaml:"type"`
	// Address to listen on, `host:port`. An empty host is every interface; port 0 takes a free port, which the ready line prints. Required except for `unix`, which has none.
	Address string `yaml:"address"`
	// For `ws` and `wss` the HTTP path, beginning with `/`; default `/mqtt`. For `unix` the socket file, required; a file that an earlier process left is removed. Refused for others.
	Path string `yaml:"path"`
	// Who may connect to the socket file of a `unix` listener: permissions in octal, in quotes; default `"0600"`, the gateway's own user. Only for `unix`.
	Permissions string `yaml:"permissions"`
	// File with the server's certificate chain, PEM. Required for `tls` and `wss`, refused for others.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the certificate, PEM. Required for `tls` and `wss`, refused for others.
	KeyFile string `yaml:"key_file"`
	// Oldest supported version of TLS, in quotes: `"1.2"`, the default, or `"1.3"`. Only for `tls` and `wss`.
	TLSMinVersion string `yaml:"tls_min_version"`
	// File with the authorities that client certificates must be signed by, PEM. If set, clients are asked for a certificate, and its names are passed to the auth plugin. Only for `tls` and `wss`.
	ClientCAFile string `yaml:"client_ca_file"`
	// With `client_ca_file`: `required`, the default, refuses clients without a certificate; `optional` accepts them, and leaves the decision to the auth plugin. A certificate of another authority is refused either way.
	ClientCert string `yaml:"client_cert"`
	// Web pages whose scripts may connect, besides pages from the gateway's own host and port: origins such as `https://app.example.com`, with `*` for any part (`https://*.example.com`); `*` alone allows every page. Clients other than browsers send no origin and are not affected. Only for `ws` and `wss`.
	AllowedOrigins []string `yaml:"allowed_origins"`
	// PROXY protocol, for a load balancer in front of the gateway. Refused for `unix`.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
}

// ProxyProtocol says which load balancers are trusted to state a client's address.
type ProxyProtocol struct {
	// Addresses or networks (`10.0.0.0/8`) of the load balancers. Connections from them must begin with a PROXY protocol header, version 1 or 2, which has the client's address; connections from others must not. Empty: no connection may begin with a header.
	From []string `yaml:"from"`
}

// The values of listeners[].client_cert.
const (
	ClientCertRequired = "required"
	ClientCertOptional = "optional"
)

// The values of mqtt.session_owner.
const (
	OwnerIdentity = "identity"
	OwnerClientID = "client_id"
)

// MQTT holds the limits of the protocol side.
type MQTT struct {
	// Largest packet that a client may send; 64 bytes to 268435460 bytes (the protocol's limit). A client that sends a larger one is disconnected; before its admission a client may send 192 KiB at most.
	MaxPacketSize Size `yaml:"max_packet_size"`
	// Unacknowledged QoS 1 and 2 messages that the gateway accepts from one client at a time; 1 to 65535. MQTT 5 clients learn it from CONNACK; a 3.1.1 client with more in flight is not read until some are acknowledged.
	ReceiveMaximum int `yaml:"receive_maximum"`
	// Longest keep-alive, a duration of at most 65535s; 0 is no limit. An MQTT 5 client that asks for more, or for none, gets this one; for a 3.1.1 client it is enforced.
	MaxKeepAlive time.Duration `yaml:"max_keep_alive"`
	// Longest time that the session of a disconnected client is kept, a duration of at least 1s; 0 is no limit. It also applies to 3.1.1 sessions.
	SessionExpiryMax time.Duration `yaml:"session_expiry_max"`
	// Admitted clients that this node serves at a time; 0 is no limit. A client that replaces its own connection does not count twice. Connections before admission have limits of their own.
	MaxConnections int `yaml:"max_connections"`
	// Levels that a topic name or filter may have; 1 to 65535. A PUBLISH or will with more is refused with reason code 0x90, a filter with 0x8F; 3.1.1 clients are disconnected, or get 0x80.
	MaxTopicLevels int `yaml:"max_topic_levels"`
	// Interval at which clients that subscribe to `$SYS/#` get the state of this node, under mosquitto's names, a duration of 1s to 1h; 0: there is no `$SYS`. Nobody can publish below `$SYS/broker` in any case.
	SysInterval time.Duration `yaml:"sys_interval"`
	// Owner of a session: `identity` (only clients that are admitted as the same user get it; others are refused with 0x85, or 0x02 in 3.1.1, while the session lives) or `client_id` (any client with the client id gets it, for a time in which user names change).
	SessionOwner string `yaml:"session_owner"`
	// Response information for MQTT 5 clients that ask for it: the topic below which they should expect answers to their requests. `%c` is the client id, `%u` the user name. It grants no rights. Empty: none is sent.
	ResponseInformation string `yaml:"response_information"`
	// Another server that MQTT 5 clients are referred to (reason code 0x9C, Server Reference) when this node stops or is full, such as `mq2.example.com:1883`; several are separated by spaces. Empty: none.
	ServerReference string `yaml:"server_reference"`
}

// Limits bounds what one party may use.
type Limits struct {
	// Limits of each client.
	Client ClientLimits `yaml:"client"`
	// Limits of each identity: of all clients that were admitted as the same user. Clients of `auth.plugin: none` have no identity.
	Identity IdentityLimits `yaml:"identity"`
	// Limits of the whole cluster. Every node should have the same values.
	Cluster ClusterLimits `yaml:"cluster"`
	// Limits of the node.
	Node NodeLimits `yaml:"node"`
	// Limits of each listener.
	Listener ListenerLimits `yaml:"listener"`
	// Limits of each source address; for IPv6, of each 64-bit network. Behind a load balancer they are useful only with `proxy_protocol`.
	Address AddressLimits `yaml:"address"`
}

// ClientLimits are the limits of a client.
type ClientLimits struct {
	// Memory of a client's messages that are not stored yet, at least 64KiB. At the limit the client is not read, whatever the QoS. One message is accepted in any case.
	InboundMemory Size `yaml:"inbound_memory"`
	// Memory of unacknowledged messages of a client with a persistent session, kept for resending; at least 64KiB. Beyond that, messages are read from the store again when the client comes back.
	OutboundMemory Size `yaml:"outbound_memory"`
	// Messages that a client may publish per second, on average; 0 is no limit. A faster client is not read until it complies; a burst of two seconds' worth is allowed.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that a client may publish per second, in the same way.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that a client may subscribe to per second, in the same way.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that a client is sent per second, including its backlog; 0 is no limit. The rest waits in the store.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
	// Short connections (less than 10s, including those that were taken over) that a client may have within five minutes before it is banned: for a minute, then for twice as long each time, an hour at most. Only the client id of that user at that address is banned, and refused with reason code 0x8A, or 0x05 in 3.1.1; on loopback only with `limits.address.loopback`. 0 is no limit.
	Flaps int `yaml:"flaps"`
	// Subscriptions of a client. A filter beyond the limit is refused with reason code 0x97.
	Subscriptions int `yaml:"subscriptions"`
	// Share of the metadata backend's capacity, and of the memory for retained messages, that one client may use, in percent; 1 to 100. Filters that it has unsubscribed from count until they are removed, an hour or two later. Requests beyond it are refused with reason code 0x97.
	Share int `yaml:"share"`
	// Authenticated connections of a client per second, on average; 0 is no limit. Further ones wait for up to 20s; if that is not enough, they are refused with reason code 0x9F, or 0x03 in 3.1.1.
	ConnectRate int `yaml:"connect_rate"`
}

// IdentityLimits are the limits of an identity.
type IdentityLimits struct {
	// Share that the clients of one identity may use of the metadata backend's capacity (keys and bytes), of the limits of the cluster, of `topics.max_filters`, and of the node's memory for filters, subscriptions and retained messages, in percent; 1 to 100. Requests beyond it are refused with reason code 0x97; existing data stays. The last tenth of `mqtt.max_connections` is for identities that have less than this share of the connections. If all clients are one user, set `100`.
	Share int `yaml:"share"`
	// Admitted clients that one identity may have on this node at a time; 0 is no limit but that of `limits.identity.share`. Further ones are refused with reason code 0x97, or 0x03 in 3.1.1; a client that replaces its own connection never is.
	Connections int `yaml:"connections"`
	// Authenticated connections of an identity per second, in the same way.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that the clients of an identity may publish per second in total, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of an identity may publish per second in total.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of an identity may subscribe to per second in total.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of an identity are sent per second in total, including their backlogs.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// ClusterLimits are the limits of the cluster.
type ClusterLimits struct {
	// Share of the metadata backend's capacity that is reserved for existing sessions, so that their clients can always come back, in percent; 1 to 90. New sessions, filters, shared groups and retained messages get the rest. Backends that declare no limit are not affected.
	Reserve int `yaml:"reserve"`
	// Sessions that outlive their connections; 0 is no limit. A client that needs another one is refused with reason code 0x97, or 0x03 in 3.1.1.
	Sessions int `yaml:"sessions"`
	// Filters of such sessions, and shared groups; 0 is no limit. See also `topics.max_filters`.
	Filters int `yaml:"filters"`
	// Topics with a retained message; 0 is no limit. Beyond the limit a message for another topic is refused: 0x97; 3.1.1: disconnected. A will is published but not retained.
	RetainedMessages int `yaml:"retained_messages"`
	// First-level topics, up to which clients make new ones by using them (`topics.auto_create`); 0 is no limit. A client may make `limits.client.share` of them, and an identity `limits.identity.share`. Beyond that a message or subscription that needs a new one is refused: 0x97; 3.1.1: disconnected, or 0x80 in SUBACK. A will is not published. `lmqgate topic create` is not limited.
	Topics int `yaml:"topics"`
}

// NodeLimits are the limits of the node.
type NodeLimits struct {
	// Soft limit of the process's memory; 0 is half the memory of its control group, or of the machine; at least 64MiB. `GOMEMLIMIT` takes precedence. Above 85% of the limit no client is admitted, and messages wait.
	Memory Size `yaml:"memory"`
	// Memory of all messages that are not stored yet; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit clients are not read, and a client that sends its message too slowly is disconnected.
	InboundMemory Size `yaml:"inbound_memory"`
	// Memory of messages on their way to clients, and as much again for messages kept for resending; 0 is a sixteenth of `limits.node.memory`, of 16MiB to 1GiB. At the limit large messages wait, and a client that accepts nothing is disconnected.
	OutboundMemory Size `yaml:"outbound_memory"`
	// Memory of retained messages. Every node holds all of them. 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit a retained message that needs more is refused: 0x97; 3.1.1: disconnected. A will is published but not retained. All nodes of a cluster should have the same value.
	RetainedMemory Size `yaml:"retained_memory"`
	// Memory of the filters of sessions that outlive their connections. Every node holds all of them. 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit new ones are refused: 0x97.
	FilterMemory Size `yaml:"filter_memory"`
	// Memory of the subscriptions of this node's clients, and of their wills, client ids and user names over 1 KiB and topic aliases over 8 KiB for each client; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit new ones are refused: 0x97; a CONNECT of 3.1.1: 0x03; for topic aliases the client is disconnected.
	SubscriptionMemory Size `yaml:"subscription_memory"`
	// Open connections whose clients are not admitted yet; 0 is 2048 or, if `mqtt.max_connections` is set, at most twice that (64 at least). At the limit a new connection replaces the one that has been silent for longest.
	Unauthenticated int `yaml:"unauthenticated"`
	// Memory for CONNECT packets of over 16 KiB whose clients are not admitted yet, at least 256KiB. Further packets are read when there is room.
	ConnectMemory Size `yaml:"connect_memory"`
	// Connections that the node accepts per second, on all listeners, on average; 0 is no limit. Further ones wait to be accepted.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that all clients may publish per second in total, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that all clients may publish per second in total.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that all clients may subscribe to per second in total.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that all clients are sent per second in total, including their backlogs.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// ListenerLimits are the limits of a listener.
type ListenerLimits struct {
	// Open connections of a listener whose clients are not admitted yet; 0 is half of the node's.
	Unauthenticated int `yaml:"unauthenticated"`
	// Connections that a listener accepts per second, on average; 0 is no limit. Further ones wait to be accepted.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that the clients of a listener may publish per second in total, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of a listener may publish per second in total.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of a listener may subscribe to per second in total.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of a listener are sent per second in total, including their backlogs.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// AddressLimits are the limits of an address.
type AddressLimits struct {
	// Open connections of an address whose clients are not admitted yet; 0 is an eighth of the node's. Of IPv6, an address is here and below a network of 64 bits; a network of 56 bits may have 4 times as many, one of 48 bits 16 times, and no more than half and three quarters of the listener's.
	Unauthenticated int `yaml:"unauthenticated"`
	// Admitted clients that an address may have on this node at a time, as in `limits.identity`; 0 is no limit. A network of 56 bits may have 4 times as many, one of 48 bits 16 times.
	Connections int `yaml:"connections"`
	// Connections that an address may open per second, on average; 0 is no limit. A burst of two seconds' worth is allowed; further ones are closed. A network of 56 bits may open 4 times as many, one of 48 bits 16 times.
	ConnectRate int `yaml:"connect_rate"`
	// Failed logins of an address within five minutes before it is banned: for a minute, then for twice as long each time, an hour at most. From the sixth on, each failure delays the next login of the address and of the user name. A client, that is a user name with a client id, counts for its address with five failures at most; with more it is delayed, and at the limit banned, by itself. A successful login forgives the failures of the same client, if the identity is that user name, and no others. A network of 56 bits may have 4 times as many failures, one of 48 bits 16 times. 0 is no limit and no delay.
	FailedLogins int `yaml:"failed_logins"`
	// Whether the limits of an address also apply to loopback, where a load balancer without `proxy_protocol` or a test may be.
	Loopback bool `yaml:"loopback"`
	// Messages that the clients of an address may publish per second in total, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of an address may publish per second in total.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of an address may subscribe to per second in total.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of an address are sent per second in total, including their backlogs.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// AuthNone is the auth.plugin that admits every client. It must be configured explicitly: it is never a default.
const AuthNone = "none"

// Auth names the auth plugin and carries its configuration.
type Auth struct {
	// File name of the auth plugin in `plugins.dir`, or `none` to let every client do everything.
	Plugin string `yaml:"plugin"`
	// Configuration of the auth plugin, passed to it unchanged; see the plugin's README for its keys. Default for `auth-hmac`: one user `demo` with the secret key `demo-secret`. This key is public, so it is refused while a listener is open to other machines, wherever it is configured.
	Config PluginConfig `yaml:"config"`
}

// Anonymous reports whether every client is admitted.
func (a Auth) Anonymous() bool { return a.Plugin == AuthNone }

// Meta names the meta plugin and carries its configuration.
type Meta struct {
	// File name of the meta plugin in `plugins.dir`.
	Plugin string `yaml:"plugin"`
	// Configuration of the meta plugin, passed to it unchanged; see the plugin's README for its keys. For `meta-namesrv`, `namesrv` defaults to `store.rocketmq.namesrv`.
	Config PluginConfig `yaml:"config"`
	// Target of `lmqgate meta migrate`; see docs/operations.md. It is read when a migration begins, without a restart, and used for nothing else.
	Next MetaNext `yaml:"next"`
}

// MetaNext names the meta plugin that is the target of a migration.
type MetaNext struct {
	// File name of the plugin in `plugins.dir`; empty if no migration is planned.
	Plugin string `yaml:"plugin"`
	// Its configuration, as in `meta.config`.
	Config PluginConfig `yaml:"config"`
}

// The store types.
const (
	StoreRocketMQ = "rocketmq"
	StoreLocal    = "local"
)

// Store says where messages are stored.
type Store struct {
	// `rocketmq`: Apache RocketMQ. `local`: files of this process; one node, no services.
	Type string `yaml:"type"`
	// The RocketMQ store; used when `store.type` is `rocketmq`.
	RocketMQ RocketMQ `yaml:"rocketmq"`
	// The local store; used when `store.type` is `local`.
	Local Local `yaml:"local"`
}

// The values of store.rocketmq.dispatch.
const (
	DispatchAuto       = "auto"
	DispatchCompatible = "compatible"
	DispatchLean       = "lean"
)

// RocketMQ is the store on Apache RocketMQ.
type RocketMQ struct {
	// Name servers, each `host:port`; at least one.
	Namesrv []string `yaml:"namesrv"`
	// Access key of RocketMQ's ACL; empty if the brokers require none.
	AccessKey string `yaml:"access_key"`
	// Secret key that belongs to the access key.
	SecretKey Secret `yaml:"secret_key"`
	// Token of temporary credentials, sent with the access key.
	SecurityToken Secret `yaml:"security_token"`
	// TLS on every connection to name servers and brokers.
	TLS TLS `yaml:"tls"`
	// Which topics get a queue. `compatible`: all, as Apache RocketMQ MQTT's own gateways expect. `lean`: only those with a durable reader. `auto`: compatible while such gateways are registered in the metadata, otherwise lean.
	Dispatch string `yaml:"dispatch"`
	// What sends messages to the brokers. `remoting`: lmqgate's own client, which is about twice as fast. `client-go`: the producer of rocketmq-client-go, which can neither verify TLS certificates nor sign with a security token.
	Producer string `yaml:"producer"`
	// How long a broker may take to answer before a message is sent again, which may store it twice: 100ms to 1m; 0: 3s.
	SendTimeout time.Duration `yaml:"send_timeout"`
}

// The values of store.rocketmq.producer.
const (
	ProducerRemoting = "remoting"
	ProducerClientGo = "client-go"
)

// Local is the store in files of this process.
type Local struct {
	// Directory of the messages. Empty: `store` in `node.data_dir`.
	Path string `yaml:"path"`
	// `always`: a message is acknowledged when it is on disk. An interval, such as `1s`: messages are written to disk that often; a power failure loses those since the last write. 1ms to 1h.
	Sync Sync `yaml:"sync"`
	// How long messages are kept, a duration of at least 1s; 0 keeps them forever.
	Retention time.Duration `yaml:"retention"`
}

// TLS has the settings for TLS connections to a server.
type TLS struct {
	// Whether to use TLS.
	Enabled bool `yaml:"enabled"`
	// File with the authorities that the server's certificate must be signed by, PEM. Empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// File with the client certificate, PEM; together with `key_file`.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the client certificate, PEM.
	KeyFile string `yaml:"key_file"`
	// Accepts any server certificate. Only for tests: it removes the protection against man-in-the-middle attacks.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// Topics governs first-level topics and the filters below them.
type Topics struct {
	// Whether a missing first-level topic is created on first use, up to `limits.cluster.topics` and with a name of up to 127 characters. Default: `true` on the local store, `false` on RocketMQ, where `lmqgate topic create` does it.
	AutoCreate bool `yaml:"auto_create"`
	// Queues for each broker of a RocketMQ topic that the gateway creates; 1 to 1024.
	Queues int `yaml:"queues"`
	// Filters with a queue of their own for each first-level topic; at least 1. Beyond it SUBSCRIBE is refused. One identity may have `limits.identity.share` of them.
	MaxFilters int `yaml:"max_filters"`
	// RocketMQ topic for first levels that are no valid RocketMQ topic name (`sensor.1`, `$x`). Empty: they are refused. The local store accepts any first level.
	Fallback string `yaml:"fallback"`
}

// Events says where what happens to clients and sessions is told.
type Events struct {
	// RocketMQ topic (or first-level topic of the local store) to which events are written as JSON: who connected and disconnected, what was subscribed, which sessions began, moved and expired, which messages were dropped. It is created if it does not exist, and no client may publish to it. Empty: there are no events.
	Topic string `yaml:"topic"`
	// Whether MQTT clients may subscribe to `$events/#`, as their rules allow. A user without rules may.
	MQTT bool `yaml:"mqtt"`
}

// Tracing says which messages are traced, and where the spans go.
type Tracing struct {
	// OpenTelemetry collector that takes the spans over OTLP/gRPC: `http://host:4317`, or with TLS `https://host:4317`. Empty: nothing is traced, and tracing costs nothing.
	Endpoint string `yaml:"endpoint"`
	// Share of the messages without a trace context, and of the CONNECTs, that are traced; 0 to 1. A message that arrives with a `traceparent` is traced if its sampled flag is set, whatever the ratio.
	Ratio float64 `yaml:"ratio"`
	// Spans that the node makes per second at most; 1 to 1000000. Further ones are left out and counted.
	SpanRate int `yaml:"span_rate"`
}

// Admin is the HTTP side.
type Admin struct {
	// Address to listen on, `host:port`; port 0 takes a free port, which the ready line prints.
	Address string `yaml:"address"`
	// Token that requests to `/api/` carry as `Authorization: Bearer TOKEN`; at least 16 bytes. Empty (allowed only on a loopback address): the gateway creates a token at its first start and keeps it in `admin-token` in `node.data_dir`. Only its own user can read the file; that user's commands find it.
	Token Secret `yaml:"token"`
	// Further named tokens, for read-only programs, or to distinguish operators in the log.
	Tokens []AdminToken `yaml:"tokens"`
	// Whether `/metrics` requires the token, too. `/healthz` and `/readyz` never do.
	MetricsToken bool `yaml:"metrics_token"`
	// Whether `/debug/pprof/` serves profiles of the running gateway for `go tool pprof`; it requires the token.
	Pprof bool `yaml:"pprof"`
	// File with the certificate chain of the HTTP side, PEM; together with `key_file`. The HTTP side then uses TLS; the file is read again when it changes.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the certificate, PEM.
	KeyFile string `yaml:"key_file"`
}

// AdminToken is one token of the admin API, besides admin.token.
type AdminToken struct {
	// Name of the token's holder, for the log: 1 to 64 printable characters, unique. Required.
	Name string `yaml:"name"`
	// What it permits: `viewer` (reading: GET requests, but no profiles) or `admin` (everything). Required.
	Role string `yaml:"role"`
	// The token itself, at least 16 bytes, unique. Required.
	Token Secret `yaml:"token"`
}

// The values of admin.tokens[].role.
const (
	RoleAdmin  = "admin"
	RoleViewer = "viewer"
)

// Plugins says where plugin executables are and which are trusted.
type Plugins struct {
	// Directory of the plugin executables. Default: `plugins` beside the lmqgate binary.
	Dir string `yaml:"dir"`
	// How long a plugin may take from its start until its handshake; 1s to 10m. If a plugin exits, or prints something else, the error is reported at once.
	StartTimeout time.Duration `yaml:"start_timeout"`
	// SHA-256 checksums that plugins must have, as `name: "sha256:HEX"`. A plugin without an entry is not checked.
	Checksums map[string]string `yaml:"checksums"`
	// Memory that the process of a plugin may use, at least 32MiB; above it the plugin is restarted (on Linux). 0 is no limit.
	MemoryLimit Size `yaml:"memory_limit"`
}

// The log formats.
const (
	LogText = "text"
	LogJSON = "json"
)

// Log is the log on standard error.
type Log struct {
	// Lowest level that is logged: `debug`, `info`, `warn` or `error`.
	Level string `yaml:"level"`
	// `text` (key=value) or `json` (one object per line).
	Format string `yaml:"format"`
}
