package config

import "time"

// Config is the whole configuration. The yaml tag of a field is its key; the
// comment of a field is its entry in docs/configuration.md, which a test keeps
// in step.
type Config struct {
	// This gateway process among the others.
	Node Node `yaml:"node"`
	// Where MQTT clients connect; at least one. A list replaces the default list.
	Listeners []Listener `yaml:"listeners"`
	// Limits of the MQTT protocol side.
	MQTT MQTT `yaml:"mqtt"`
	// What one client, address or listener may take from the others.
	Limits Limits `yaml:"limits"`
	// Who may connect, publish and subscribe: the auth plugin.
	Auth Auth `yaml:"auth"`
	// Where metadata is kept: the meta plugin.
	Meta Meta `yaml:"meta"`
	// Where messages are kept.
	Store Store `yaml:"store"`
	// First-level topics and the filters below them.
	Topics Topics `yaml:"topics"`
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

	// sources say where each key came from; see Where.
	sources []map[string]string
	// secretKeys are the keys of the file whose values nobody else should read; see CheckPrivate.
	secretKeys []string
}

// Node identifies this gateway process and says where it keeps its files.
type Node struct {
	// Name of this node in the cluster: unique, 1 to 64 of letters, digits, `.`, `_` and `-`. Empty: made from the host name and kept in `data_dir`.
	ID string `yaml:"id"`
	// Directory for what this node keeps on disk: its generated id, the local store, and files of plugins. Created when missing.
	DataDir string `yaml:"data_dir"`
	// How long a node is waited for that does not answer, before its clients may connect elsewhere; between 2s and 10s. A node that cannot read what the others tell it for most of this time holds its sessions.
	Lease time.Duration `yaml:"lease"`
	// Over what time a node that is told to stop (SIGTERM, SIGINT) moves its clients off, evenly, before it ends; up to 1h. `0`: at once. `lmqgate drain` has a time of its own.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// ListenerType says how MQTT is carried on a listener.
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
	// How MQTT is carried: `tcp`, `tls`, `ws` (WebSocket), `wss` (WebSocket over TLS) or `unix` (a socket file). Required.
	Type ListenerType `yaml:"type"`
	// Address to listen on, `host:port`. An empty host is every interface; port 0 takes a free port, which the ready line prints. Required but for `unix`, which has none.
	Address string `yaml:"address"`
	// For `ws` and `wss` the HTTP path, beginning with `/`; default `/mqtt`. For `unix` the socket file, required: one that an earlier process left is removed. Refused for others.
	Path string `yaml:"path"`
	// Who may connect to the socket file of a `unix` listener: permissions in octal, in quotes; default `"0600"`, the gateway's own user. Only for `unix`.
	Permissions string `yaml:"permissions"`
	// File with the server's certificate chain, PEM. Required for `tls` and `wss`, refused for others.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the certificate, PEM. Required for `tls` and `wss`, refused for others.
	KeyFile string `yaml:"key_file"`
	// Oldest version of TLS that is spoken, in quotes: `"1.2"`, the default, or `"1.3"`. Only for `tls` and `wss`.
	TLSMinVersion string `yaml:"tls_min_version"`
	// File with the authorities that client certificates must be signed by, PEM. When set, clients are asked for a certificate, whose names the auth plugin is told. Only for `tls` and `wss`.
	ClientCAFile string `yaml:"client_ca_file"`
	// With `client_ca_file`: `required`, the default, refuses clients without a certificate; `optional` takes them, and leaves it to the auth plugin. A certificate of another authority is refused either way.
	ClientCert string `yaml:"client_cert"`
	// Web pages whose scripts may connect, besides pages from the gateway's own host and port: origins such as `https://app.example.com`, with `*` for any part (`https://*.example.com`); `*` alone is every page. Clients that are no browsers send no origin and are not concerned. Only for `ws` and `wss`.
	AllowedOrigins []string `yaml:"allowed_origins"`
	// PROXY protocol, for a load balancer in front of the gateway. Refused for `unix`.
	ProxyProtocol ProxyProtocol `yaml:"proxy_protocol"`
}

// ProxyProtocol says whose word about a client's address is taken.
type ProxyProtocol struct {
	// Addresses or networks (`10.0.0.0/8`) of the load balancers. Connections from them must begin with a PROXY protocol header, version 1 or 2, which tells the client's address; connections from others must not. Empty: no header is expected from anybody.
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
	// Largest packet that a client may send; 64 bytes to 268435460 bytes (the protocol's limit). A client that sends a larger one is disconnected; one that is not admitted yet may send 192 KiB at most.
	MaxPacketSize Size `yaml:"max_packet_size"`
	// Unacknowledged QoS 1 and 2 messages that the gateway takes from one client at a time; 1 to 65535. MQTT 5 clients are told; a 3.1.1 client that has more in flight is not read until some are acknowledged.
	ReceiveMaximum int `yaml:"receive_maximum"`
	// Longest keep-alive, a duration of at most 65535s; 0 is no limit. An MQTT 5 client that asks for more, or for none, is told this one; a 3.1.1 client is held to it.
	MaxKeepAlive time.Duration `yaml:"max_keep_alive"`
	// Longest time that the session of a disconnected client is kept, a duration of at least 1s; 0 is no limit. It also ends sleeping 3.1.1 sessions.
	SessionExpiryMax time.Duration `yaml:"session_expiry_max"`
	// Admitted clients that this node serves at a time; 0 is no limit. A client that takes over its own connection needs no room. Connections that are not admitted yet have bounds of their own.
	MaxConnections int `yaml:"max_connections"`
	// Levels that a topic name or filter may have; 1 to 65535. A PUBLISH or will with more is refused with reason code 0x90, a filter with 0x8F; 3.1.1 clients are disconnected, or get 0x80.
	MaxTopicLevels int `yaml:"max_topic_levels"`
	// How often clients that subscribe to `$SYS/#` are told how this node is, by mosquitto's names, a duration of 1s to 1h; 0: there is no `$SYS`. Nobody can publish below `$SYS/broker`, whatever this says.
	SysInterval time.Duration `yaml:"sys_interval"`
	// Whose a session is: `identity` (the client that was admitted as the same user; another one is refused with 0x85, or 0x02 in 3.1.1, while the session lives) or `client_id` (whoever has the client id, for those who change user names).
	SessionOwner string `yaml:"session_owner"`
	// Response information for MQTT 5 clients that ask for it: the topic below which they should expect answers to their requests. `%c` is the client id, `%u` the user name. It says nothing about what a client may do. Empty: none is given.
	ResponseInformation string `yaml:"response_information"`
	// Another server that MQTT 5 clients are pointed to (reason code 0x9C, Server Reference) when this node stops or has no room for them, such as `mq2.example.com:1883`; several are separated by spaces. Empty: none.
	ServerReference string `yaml:"server_reference"`
}

// Limits holds what one party may take from the others.
type Limits struct {
	// Limits of each client.
	Client ClientLimits `yaml:"client"`
	// Limits of each identity: of all clients that were admitted as the same user. Clients of `auth.plugin: none` have none.
	Identity IdentityLimits `yaml:"identity"`
	// Limits of the whole cluster. Every node should have the same.
	Cluster ClusterLimits `yaml:"cluster"`
	// Limits of the node.
	Node NodeLimits `yaml:"node"`
	// Limits of each listener.
	Listener ListenerLimits `yaml:"listener"`
	// Limits of each address that clients come from; of IPv6, of each network of 64 bits. Behind a load balancer they are of use only with `proxy_protocol`.
	Address AddressLimits `yaml:"address"`
}

// ClientLimits are those of a client.
type ClientLimits struct {
	// Memory of a client's messages that are not stored yet, at least 64KiB. At the limit the client is not read, whatever the QoS. One message is taken in any case.
	InboundMemory Size `yaml:"inbound_memory"`
	// Memory of messages that a client of a persistent session has not acknowledged, kept to be sent again; at least 64KiB. What is more is read from the store again when the client comes back.
	OutboundMemory Size `yaml:"outbound_memory"`
	// Messages that a client may publish a second, on average; 0 is no limit. A client that is quicker is not read for as long as it takes; two seconds' worth may come at once.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that a client may publish a second, in the same way.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that a client may subscribe to a second, in the same way.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that a client is sent a second, what it missed while it was away included; 0 is no limit. The rest waits in the store.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
	// Connections of a client that may end within 10s of their beginning, within five minutes, also because it was taken over, before it is banned: for a minute, then for twice as long each time, an hour at the most. Only the client id of that user at that address is banned, and refused with reason code 0x8A, or 0x05 in 3.1.1; loopback with `limits.address.loopback` only. 0 is no limit.
	Flaps int `yaml:"flaps"`
	// Subscriptions of a client. A filter that would be one more is refused with reason code 0x97.
	Subscriptions int `yaml:"subscriptions"`
	// Percent of what the metadata backend takes, and of what retained messages may take, that one client may have; 1 to 100. What is more is refused with reason code 0x97.
	Share int `yaml:"share"`
	// Connections of a client that were authenticated, a second, on average; 0 is no limit. Further ones wait for up to 20s, and are refused with reason code 0x9F where that is not enough, or 0x03 in 3.1.1.
	ConnectRate int `yaml:"connect_rate"`
}

// IdentityLimits are those of an identity.
type IdentityLimits struct {
	// Percent that the clients of one identity may have of what the metadata backend takes (keys and bytes), of the limits of the cluster, and of the node's memory for filters, subscriptions and retained messages; 1 to 100. What is more is refused with reason code 0x97; what is there stays. Where all clients are one user, `100`.
	Share int `yaml:"share"`
	// Connections of an identity that were authenticated, a second, in the same way.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that the clients of an identity may publish a second together, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of an identity may publish a second together.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of an identity may subscribe to a second together.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of an identity are sent a second together, what they missed while they were away included.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// ClusterLimits are those of the cluster.
type ClusterLimits struct {
	// Percent of what the metadata backend takes that is kept for sessions that there are, so that their clients can always come back; 1 to 90. New sessions, filters, shared groups and retained messages get the rest. Backends that name no limit are not concerned.
	Reserve int `yaml:"reserve"`
	// Sessions that outlive their connections; 0 is no limit. A client that wants one more is refused with reason code 0x97, or 0x03 in 3.1.1.
	Sessions int `yaml:"sessions"`
	// Filters of such sessions, and shared groups; 0 is no limit. See also `topics.max_filters`.
	Filters int `yaml:"filters"`
	// Topics with a retained message; 0 is no limit. A message for one more is refused: 0x97; 3.1.1: disconnected. A will is published and not retained.
	RetainedMessages int `yaml:"retained_messages"`
}

// NodeLimits are those of the node.
type NodeLimits struct {
	// Soft limit of the process's memory; 0 is half of what its control group, or the machine, has; at least 64MiB. `GOMEMLIMIT` comes before it. From 85% of it on no client is admitted, and messages wait.
	Memory Size `yaml:"memory"`
	// Memory of all messages that are not stored yet; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit clients are not read; one that sends its message too slowly is closed.
	InboundMemory Size `yaml:"inbound_memory"`
	// Memory of what is on its way to clients, and as much for messages kept to be sent again; 0 is a sixteenth of `limits.node.memory`, of 16MiB to 1GiB. At the limit large messages wait, and a client that takes nothing is closed.
	OutboundMemory Size `yaml:"outbound_memory"`
	// Memory of retained messages, which every node holds whole; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit a retained message that would take more is refused: 0x97; 3.1.1: disconnected. A will is published and not retained. Nodes of one cluster should allow the same.
	RetainedMemory Size `yaml:"retained_memory"`
	// Memory of the filters of sessions that outlive their connections, which every node holds whole; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit new ones are refused: 0x97.
	FilterMemory Size `yaml:"filter_memory"`
	// Memory of the subscriptions of this node's clients; 0 is an eighth of `limits.node.memory`, of 16MiB to 1GiB. At the limit new ones are refused: 0x97.
	SubscriptionMemory Size `yaml:"subscription_memory"`
	// Open connections whose clients are not admitted yet; 0 is 2048 or, where `mqtt.max_connections` is set, at most twice that (64 at the least). At the limit a new connection takes the place of the one that has been silent for longest.
	Unauthenticated int `yaml:"unauthenticated"`
	// Memory for CONNECT packets of over 16 KiB whose clients are not admitted yet, at least 256KiB. Further ones are read when there is room.
	ConnectMemory Size `yaml:"connect_memory"`
	// Connections that the node accepts a second, on all listeners, on average; 0 is no limit. Further ones wait to be accepted.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that all clients may publish a second together, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that all clients may publish a second together.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that all clients may subscribe to a second together.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that all clients are sent a second together, what they missed while they were away included.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// ListenerLimits are those of a listener.
type ListenerLimits struct {
	// Open connections of a listener whose clients are not admitted yet; 0 is half of the node's.
	Unauthenticated int `yaml:"unauthenticated"`
	// Connections that a listener accepts a second, on average; 0 is no limit. Further ones wait to be accepted.
	ConnectRate int `yaml:"connect_rate"`
	// Messages that the clients of a listener may publish a second together, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of a listener may publish a second together.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of a listener may subscribe to a second together.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of a listener are sent a second together, what they missed while they were away included.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// AddressLimits are those of an address.
type AddressLimits struct {
	// Open connections of an address whose clients are not admitted yet; 0 is an eighth of the node's.
	Unauthenticated int `yaml:"unauthenticated"`
	// Connections that an address may open a second, on average; 0 is no limit. Two seconds' worth may come at once; further ones are closed.
	ConnectRate int `yaml:"connect_rate"`
	// Logins of an address that may fail within five minutes before it is banned: for a minute, then for twice as long each time, an hour at the most. From the sixth on, each failure delays the next login of the address and of the user name. A login that succeeds halves the count of its address. 0 is no limit and no delay.
	FailedLogins int `yaml:"failed_logins"`
	// Whether the limits of an address are for loopback, too, where a load balancer without `proxy_protocol` may be, or a test.
	Loopback bool `yaml:"loopback"`
	// Messages that the clients of an address may publish a second together, as in `limits.client`.
	MessageRate int `yaml:"message_rate"`
	// Bytes of messages that the clients of an address may publish a second together.
	ByteRate Size `yaml:"byte_rate"`
	// Filters that the clients of an address may subscribe to a second together.
	SubscribeRate int `yaml:"subscribe_rate"`
	// Bytes of messages that the clients of an address are sent a second together, what they missed while they were away included.
	OutboundByteRate Size `yaml:"outbound_byte_rate"`
}

// AuthNone is the auth.plugin that lets every client in. It must be written
// out: no default leads to it.
const AuthNone = "none"

// Auth names the auth plugin and carries its configuration.
type Auth struct {
	// File name of the auth plugin in `plugins.dir`, or `none` to let every client do everything.
	Plugin string `yaml:"plugin"`
	// Configuration of the auth plugin, passed to it as it is; see the plugin's README for its keys. Default for `auth-hmac`: one user `demo` with the secret key `demo-secret`. Because everybody knows it, that secret key is refused while a listener is open to other machines, wherever it comes from.
	Config PluginConfig `yaml:"config"`
}

// Anonymous reports whether every client is let in.
func (a Auth) Anonymous() bool { return a.Plugin == AuthNone }

// Meta names the meta plugin and carries its configuration.
type Meta struct {
	// File name of the meta plugin in `plugins.dir`.
	Plugin string `yaml:"plugin"`
	// Configuration of the meta plugin, passed to it as it is; see the plugin's README for its keys. For `meta-namesrv`, `namesrv` defaults to `store.rocketmq.namesrv`.
	Config PluginConfig `yaml:"config"`
	// Where `lmqgate meta migrate` moves the metadata to; see docs/operations.md. Read when a migration begins, without a restart, and used by nothing else.
	Next MetaNext `yaml:"next"`
}

// MetaNext names the meta plugin that a migration goes to.
type MetaNext struct {
	// File name of the plugin in `plugins.dir`; empty where no migration is planned.
	Plugin string `yaml:"plugin"`
	// Its configuration, as in `meta.config`.
	Config PluginConfig `yaml:"config"`
}

// The store types.
const (
	StoreRocketMQ = "rocketmq"
	StoreLocal    = "local"
)

// Store says where messages are kept.
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
	// Access key of RocketMQ's ACL; empty when the brokers ask for none.
	AccessKey string `yaml:"access_key"`
	// Secret key that belongs to the access key.
	SecretKey Secret `yaml:"secret_key"`
	// Token of temporary credentials, sent beside the access key.
	SecurityToken Secret `yaml:"security_token"`
	// TLS on every connection to name servers and brokers.
	TLS TLS `yaml:"tls"`
	// Which topics get a queue. `compatible`: each, as Apache RocketMQ MQTT's own gateways expect. `lean`: only those that something durable reads. `auto`: compatible while such gateways are registered in the metadata, else lean.
	Dispatch string `yaml:"dispatch"`
	// What sends messages to the brokers. `remoting`: lmqgate's own client, which is about twice as fast. `client-go`: the producer of rocketmq-client-go, which can neither verify TLS certificates nor sign with a security token.
	Producer string `yaml:"producer"`
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
	// `always`: a message is acknowledged when it is on disk. An interval, such as `1s`: written to disk that often; a machine that loses power loses what came since. 1ms to 1h.
	Sync Sync `yaml:"sync"`
	// How long messages are kept, a duration of at least 1s; 0 keeps them for ever.
	Retention time.Duration `yaml:"retention"`
}

// TLS says how to talk TLS to a server.
type TLS struct {
	// Whether to use TLS.
	Enabled bool `yaml:"enabled"`
	// File with the authorities that the server's certificate must be signed by, PEM. Empty: those of the system.
	CAFile string `yaml:"ca_file"`
	// File with the client certificate, PEM; together with `key_file`.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the client certificate, PEM.
	KeyFile string `yaml:"key_file"`
	// Takes any server certificate. Only for tests: it gives up the protection against a man in the middle.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify"`
}

// Topics governs first-level topics and the filters below them.
type Topics struct {
	// Whether a first-level topic that does not exist is created on first use. Default: `true` on the local store, `false` on RocketMQ, where `lmqgate topic create` does it.
	AutoCreate bool `yaml:"auto_create"`
	// Queues for each broker of a RocketMQ topic that the gateway creates; 1 to 1024.
	Queues int `yaml:"queues"`
	// Filters with a queue of their own for each first-level topic; at least 1. Past it SUBSCRIBE is refused.
	MaxFilters int `yaml:"max_filters"`
	// RocketMQ topic for first levels that are no valid RocketMQ topic name (`sensor.1`, `$x`). Empty: they are refused. The local store takes any first level.
	Fallback string `yaml:"fallback"`
}

// Admin is the HTTP side.
type Admin struct {
	// Address to listen on, `host:port`; port 0 takes a free port, which the ready line prints.
	Address string `yaml:"address"`
	// Token that requests to `/api/` carry as `Authorization: Bearer TOKEN`; at least 16 bytes. Empty, which is allowed on a loopback address only: the gateway makes one at its first start and keeps it in `admin-token` in `node.data_dir`, readable by its own user only, whose commands find it.
	Token Secret `yaml:"token"`
	// Further tokens, each of somebody: programs that only look, or operators who are to be told apart.
	Tokens []AdminToken `yaml:"tokens"`
	// Whether `/metrics` wants the token, too. `/healthz` and `/readyz` never do.
	MetricsToken bool `yaml:"metrics_token"`
	// Whether `/debug/pprof/` answers, with the token: profiles of the running gateway for `go tool pprof`.
	Pprof bool `yaml:"pprof"`
	// File with the certificate chain of the HTTP side, PEM; together with `key_file`. It is then served over TLS, and read again when it changes.
	CertFile string `yaml:"cert_file"`
	// File with the private key of the certificate, PEM.
	KeyFile string `yaml:"key_file"`
}

// AdminToken is one token of the admin API, besides admin.token.
type AdminToken struct {
	// Whose it is, for the log: 1 to 64 printable characters, each name once. Required.
	Name string `yaml:"name"`
	// What it is good for: `viewer` (reading: GET requests, but no profiles) or `admin` (everything). Required.
	Role string `yaml:"role"`
	// The token itself, at least 16 bytes, each once. Required.
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
	// How long a plugin may take from its start until it says where it listens; 1s to 10m. A plugin that ends, or that says something else, is told at once.
	StartTimeout time.Duration `yaml:"start_timeout"`
	// SHA-256 checksums that plugins must have, as `name: "sha256:HEX"`. A plugin without an entry is not checked.
	Checksums map[string]string `yaml:"checksums"`
	// Memory that the process of a plugin may take, at least 32MiB; one that takes more is started again (on Linux). 0 is no limit.
	MemoryLimit Size `yaml:"memory_limit"`
}

// The log formats.
const (
	LogText = "text"
	LogJSON = "json"
)

// Log is the log on standard error.
type Log struct {
	// Least level that is written: `debug`, `info`, `warn` or `error`.
	Level string `yaml:"level"`
	// `text` (key=value) or `json` (one object a line).
	Format string `yaml:"format"`
}
