package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/trace"
)

// Conflict makes an error that matches ErrConflict without adding its text.
func Conflict(format string, args ...any) error { return conflict{fmt.Errorf(format, args...)} }

type conflict struct{ error }

func (c conflict) Is(target error) bool { return target == ErrConflict }
func (c conflict) Unwrap() error        { return c.error }

// Backend is the node as the API sees it. Methods about clients cover the whole cluster; see Unanswered.
type Backend interface {
	Info() Info
	Nodes(ctx context.Context) []Node
	Plugins() []Plugin
	// ReloadPlugins reads the configuration again and swaps plugins. Its result counts even if there is an error.
	ReloadPlugins(ctx context.Context, name string, force bool) (Reloaded, error)
	// Configuration returns the configuration in force, by key as in the file, without secrets.
	Configuration() map[string]any
	LogLevel() string
	SetLogLevel(level string) error

	// Drain makes the node move its clients off, evenly over a time, and then exit.
	Drain(over time.Duration) error
	// Rebalance makes nodes disconnect their surplus of clients, so that they move to other nodes.
	Rebalance(ctx context.Context, r RebalanceRequest) (Rebalanced, error)

	Topics(ctx context.Context) ([]Topic, error)
	CreateTopic(ctx context.Context, name string, queues int) (Topic, error)
	DeleteTopic(ctx context.Context, name string) error

	Clients(ctx context.Context, q ClientQuery) (List[Client], error)
	Client(ctx context.Context, id string) (ClientDetail, error)
	Kick(ctx context.Context, clientID string) error
	Sessions(ctx context.Context, q ClientQuery) (List[Session], error)
	// EndSession ends a session for good, together with its connection.
	EndSession(ctx context.Context, clientID string) error
	Subscriptions(ctx context.Context, q SubscriptionQuery) (List[Subscription], error)

	// Limits lists the limits of this node, with their use.
	Limits(ctx context.Context) []Bound
	// Backup copies the local store and the metadata.
	Backup(ctx context.Context) (Backup, error)

	// Groups lists the shared groups, with their backlogs.
	Groups(ctx context.Context, p Page) (List[Group], error)
	// Backlog returns the backlog of durable sessions at the last count.
	Backlog(ctx context.Context) (BacklogSummary, error)

	// Trace starts a trace of clients' events, on all nodes, for a viewer or an administrator.
	Trace(m trace.Match, viewer bool) (Watching, error)

	// Bans lists the bans of all nodes, by kind and name. AddBan and RemoveBan are for all nodes that live.
	Bans(ctx context.Context, p Page) List[Ban]
	AddBan(ctx context.Context, r BanRequest) error
	RemoveBan(ctx context.Context, kind, name string) error

	// Recent returns the last refusals and disconnections, newest first, and the nodes whose part is missing.
	Recent(ctx context.Context, q RecentQuery) ([]Event, []Unanswered)

	Publish(ctx context.Context, m Message) error
	Retained(ctx context.Context, filter string, p Page) (messages []RetainedMessage, next string, err error)
	RetainedMessage(ctx context.Context, topic string) (Message, error)
}

// List is a page of a list over the whole cluster, in order of its keys.
type List[T any] struct {
	Items []T
	// Next is the key after which the list continues; empty at its end.
	Next string
	// Unanswered lists nodes whose part is missing.
	Unanswered []Unanswered
}

// Unanswered is a node that did not answer, so that its part of the result is missing.
type Unanswered struct {
	Node  string `json:"node"`
	Error string `json:"error"`
}

// Info describes the node.
type Info struct {
	Node        string    `json:"node"`
	Version     string    `json:"version"`
	Started     time.Time `json:"started"`
	Uptime      string    `json:"uptime"`
	Connections int       `json:"connections"`
	Store       string    `json:"store"`
	Auth        string    `json:"auth"`
	Meta        string    `json:"meta"`
	// Listeners are the addresses where clients connect.
	Listeners []Listener `json:"listeners"`
	// Role is set by the server.
	Role string `json:"role" enum:"viewer,admin" doc:"What the token of this request permits: to read, or everything."`
}

// Listener is an address where clients connect.
type Listener struct {
	Type    string `json:"type"`
	Address string `json:"address" doc:"With the real port where the configuration has port 0."`
	Path    string `json:"path,omitempty" doc:"Of WebSocket listeners."`
}

// Node is a live gateway of the cluster.
type Node struct {
	ID       string            `json:"id"`
	Instance string            `json:"instance" doc:"Tells the runs of one node apart."`
	Started  time.Time         `json:"started"`
	Info     map[string]string `json:"info,omitempty"`
	Self     bool              `json:"self" doc:"True for the node that answers."`
	// The node's own description; empty if it does not answer.
	Version     string `json:"version,omitempty"`
	State       string `json:"state,omitempty" enum:"ready,draining,waiting" doc:"waiting: for a service, or to be started."`
	Connections *int   `json:"connections,omitempty"`
	Error       string `json:"error,omitempty" doc:"Why the node does not answer the one that was asked."`
}

// Plugin describes a plugin and its process.
type Plugin struct {
	Name        string  `json:"name"`
	Kind        string  `json:"kind" enum:"auth,meta"`
	Path        string  `json:"path"`
	Version     string  `json:"version"`
	Checksum    string  `json:"checksum" doc:"sha256:HEX of the executable that runs."`
	Pinned      bool    `json:"pinned" doc:"Whether plugins.checksums has it."`
	Mode        string  `json:"mode,omitempty" doc:"development or attached, where the gateway was started so."`
	Warning     string  `json:"warning,omitempty" doc:"What the mode means."`
	PID         int     `json:"pid" doc:"0 while there is no process."`
	State       string  `json:"state"`
	Uptime      float64 `json:"uptime_seconds" doc:"Of the process."`
	Restarts    int     `json:"restarts"`
	Calls       int64   `json:"calls" doc:"Since the gateway started."`
	Errors      int64   `json:"errors"`
	Suspended   bool    `json:"suspended" doc:"It hangs, and calls fail at once for a moment."`
	Memory      uint64  `json:"memory_bytes" doc:"Of the process, without pages of files; 0 where it is not known."`
	MemoryLimit uint64  `json:"memory_limit_bytes" doc:"0: none."`
	LastError   string  `json:"last_error,omitempty" doc:"Why it ended or was unwell last; it stays after a recovery."`
	Contract    int     `json:"contract" doc:"Version of the plugin contract that is spoken."`
	Secure      bool    `json:"secure" doc:"Whether the gateway and the plugin speak TLS."`
}

// Topic is a first-level topic.
type Topic struct {
	Name    string   `json:"name"`
	Queues  int      `json:"queues" doc:"Physical queues on each broker."`
	Brokers []string `json:"brokers,omitempty"`
}

// Client is a connected client, or one whose session sleeps.
type Client struct {
	ClientID      string    `json:"client_id"`
	Username      string    `json:"username,omitempty"`
	Connected     bool      `json:"connected"`
	Node          string    `json:"node,omitempty" doc:"Where it is, or was last, connected."`
	Protocol      string    `json:"protocol,omitempty"`
	RemoteAddress string    `json:"remote_address,omitempty" doc:"While it is connected."`
	Listener      string    `json:"listener,omitempty" doc:"While it is connected."`
	Since         time.Time `json:"since,omitzero" doc:"When it connected; of a sleeping session, when it disconnected. Missing where its node ended before it could note that."`
	Durable       bool      `json:"durable" doc:"Whether its session outlives the connection."`
	Expiry        int64     `json:"expiry_seconds" doc:"How long the session outlives its connection; -1 for ever."`
	Subscriptions *int      `json:"subscriptions,omitempty" doc:"While it is connected; GET /api/v1/clients/{id} has those of sleeping sessions."`
	InFlight      int       `json:"in_flight" doc:"QoS 1 and 2 messages that were sent and are not acknowledged."`
	Delivered     uint64    `json:"delivered" doc:"Messages sent since it connected."`
	Backlog       *int64    `json:"backlog,omitempty" doc:"Messages stored for its durable session and not acknowledged, where that was asked for."`
}

// RecentQuery selects refusals and disconnections; what is empty selects all.
type RecentQuery struct {
	ClientID string `json:"client_id,omitempty"`
	Username string `json:"username,omitempty"`
	Kind     string `json:"kind,omitempty"`
}

// Event is a refusal, of a client or of what it wanted, or a disconnection.
type Event struct {
	Time          time.Time `json:"time"`
	Node          string    `json:"node"`
	Kind          string    `json:"kind" enum:"refused,disconnected"`
	ClientID      string    `json:"client_id,omitempty"`
	Username      string    `json:"username,omitempty"`
	RemoteAddress string    `json:"remote_address"`
	Packet        string    `json:"packet,omitempty" doc:"What was refused: CONNECT, PUBLISH or SUBSCRIBE."`
	Topic         string    `json:"topic,omitempty" doc:"The refused message's topic, or the refused filter."`
	Reason        string    `json:"reason" doc:"One of a bounded number; the label of the metrics."`
	Cause         string    `json:"cause,omitempty"`
}

// Subscription is one subscription of a client.
type Subscription struct {
	ClientID string `json:"client_id"`
	Filter   string `json:"filter" doc:"As in SUBSCRIBE, with $share/{group}/ where it is shared."`
	QoS      byte   `json:"qos"`
	// ShareGroup is the group of a shared subscription.
	ShareGroup string `json:"share_group,omitempty"`
}

// Backlog is the backlog of a session in one of its subscriptions.
type Backlog struct {
	Filter   string    `json:"filter" doc:"Empty for point-to-point messages."`
	QoS      byte      `json:"qos"`
	Created  time.Time `json:"created,omitzero"`
	Messages int64     `json:"messages" doc:"Stored for the subscription and not acknowledged; -1 where no queue is kept (shared, or not durable)."`
}

// ClientDetail is all information about a client.
type ClientDetail struct {
	Client
	Backlog int64     `json:"backlog" doc:"The sum over its subscriptions; what two of them bring counts twice."`
	Queues  []Backlog `json:"subscriptions_detail"`
	// Unanswered lists nodes where the client may be connected as well.
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: the client may be connected there."`
}

// Session is a session that outlives its connection.
type Session struct {
	ClientID  string    `json:"client_id"`
	Username  string    `json:"username,omitempty"`
	Connected bool      `json:"connected"`
	Node      string    `json:"node,omitempty" doc:"Where its client is, or was last, connected."`
	Created   time.Time `json:"created"`
	Since     time.Time `json:"since,omitzero" doc:"When its client connected, or disconnected."`
	Expiry    int64     `json:"expiry_seconds" doc:"How long it outlives its connection; -1 for ever."`
	Expires   time.Time `json:"expires,omitzero" doc:"When it ends if its client does not come back."`
	Backlog   *int64    `json:"backlog,omitempty" doc:"Messages stored for it and not acknowledged, where that was asked for."`
}

// Group is a shared group, whose members share the records of a queue.
type Group struct {
	Name    string `json:"name" doc:"As in SUBSCRIBE: $share/{group}/{filter}."`
	Group   string `json:"group"`
	Filter  string `json:"filter"`
	Members int    `json:"members" doc:"Connected clients that are subscribed. GET /api/v1/subscriptions?filter=NAME names them."`
	Backlog int64  `json:"backlog" doc:"Messages that were not handed out, or came back; those that are with a member now may or may not count."`
}

// BacklogSummary is the backlog of durable sessions. Nodes count continuously, so it is a little old.
type BacklogSummary struct {
	Counted    time.Time    `json:"counted,omitzero" doc:"When the oldest count that is in it ended; missing where a node has not counted yet."`
	Messages   int64        `json:"messages" doc:"Stored and not acknowledged; what two subscriptions of a client bring counts twice."`
	Sessions   int          `json:"sessions" doc:"Durable sessions that were counted."`
	Behind     int          `json:"behind" doc:"Those for which something waits."`
	Largest    []Waiting    `json:"largest" doc:"The sessions that are furthest behind."`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: what they count is missing."`
}

// Waiting is the backlog of a session.
type Waiting struct {
	ClientID string `json:"client_id"`
	Messages int64  `json:"messages"`
}

// RebalanceRequest says which nodes shall move clients to other nodes.
type RebalanceRequest struct {
	// Node limits the request to one node; empty: every node with more than its share.
	Node string
	// Keep is how many clients a node keeps; below 0: the average of the ready nodes.
	Keep int
	// Rate is how many clients a node disconnects per second.
	Rate int
}

// Rebalanced is the result of a RebalanceRequest: what the nodes have begun to do.
type Rebalanced struct {
	Moves      []Move       `json:"moves"`
	Unanswered []Unanswered `json:"unanswered,omitempty" doc:"Nodes that did not answer: they are left as they are."`
}

// Move is one node's part.
type Move struct {
	Node        string `json:"node"`
	Connections int    `json:"connections" doc:"Before."`
	Keep        int    `json:"keep"`
	Moves       int    `json:"moves" doc:"How many clients it sends to the others."`
}

// ClientQuery selects clients, or sessions of clients.
type ClientQuery struct {
	Page
	Prefix   string // of the client id
	Username string // exactly; empty: any
	State    string // "connected", "sleeping", or "all"
	// Backlog requests the backlog of each client as well.
	Backlog bool `json:"-"`
}

// SubscriptionQuery selects subscriptions.
type SubscriptionQuery struct {
	Page
	ClientID string // empty: all clients
	Matching string // a topic name that the filter matches; empty: any filter
	Filter   string // exactly; empty: any
}

// Message is a message that an operator publishes.
type Message struct {
	Topic           string
	Payload         []byte
	QoS             byte
	Retain          bool
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            [][2]string
	Expiry          time.Duration // 0: never
}

// RetainedMessage describes a retained message.
type RetainedMessage struct {
	Topic     string    `json:"topic"`
	Size      int       `json:"size" doc:"Bytes of the payload."`
	QoS       byte      `json:"qos"`
	Publisher string    `json:"publisher,omitempty"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"`
}
