package events

import (
	"time"

	"github.com/lmqgate/lmqgate/core/topic"
)

// Kind is what happened.
type Kind string

// The kinds. Each is the last level of the topic of its events.
const (
	Connected        Kind = "connected"
	Disconnected     Kind = "disconnected"
	Subscribed       Kind = "subscribed"
	Unsubscribed     Kind = "unsubscribed"
	SessionCreated   Kind = "session_created"
	SessionTakenOver Kind = "session_taken_over"
	SessionExpired   Kind = "session_expired"
	MessageDropped   Kind = "message_dropped"
)

// Topic is the MQTT topic of a kind.
func (k Kind) Topic() string { return topic.Events + "/" + string(k) }

// Event is something that happened on a node. Node, Run, Seq and Time are the Log's; which of the others there are depends on the kind.
type Event struct {
	Node string `json:"node"`
	// Run is when the node was started, in milliseconds since the epoch. Seq counts from 1 in each run.
	Run  int64     `json:"run"`
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Kind Kind      `json:"event"`

	ClientID string `json:"client_id,omitempty"`
	User     string `json:"user,omitempty"`
	Address  string `json:"remote_address,omitempty"`
	Listener string `json:"listener,omitempty"`
	Version  string `json:"protocol_version,omitempty"`
	// SessionPresent: an earlier session goes on. Of Connected.
	SessionPresent *bool    `json:"session_present,omitempty"`
	Filters        []Filter `json:"filters,omitempty"`
	Topic          string   `json:"topic,omitempty"`
	Queue          string   `json:"queue,omitempty"`
	// Reason is one of a bounded number, Cause says more.
	Reason string `json:"reason,omitempty"`
	Cause  string `json:"cause,omitempty"`
	// BytesIn and BytesOut are what came from the client and went to it, in bytes of MQTT, and Seconds how long it was connected.
	BytesIn  int64   `json:"bytes_in,omitempty"`
	BytesOut int64   `json:"bytes_out,omitempty"`
	Seconds  float64 `json:"duration_seconds,omitempty"`
	// Messages is how many messages it is about, at most.
	Messages int64 `json:"messages,omitempty"`
}

// Filter is a topic filter of an event.
type Filter struct {
	Filter string `json:"filter"`
	QoS    *byte  `json:"qos,omitempty"`
}

// MostFilters and FilterBytes bound the filters of one event, in number and in bytes. A SUBSCRIBE with more is told in several events. A
// single filter is cut at maxText.
const (
	MostFilters = 100
	FilterBytes = 64 << 10
)
