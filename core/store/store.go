package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that callers decide on. Stores wrap them with what failed.
var (
	// ErrUnknownTopic: the first-level topic does not exist in the store.
	ErrUnknownTopic = errors.New("unknown first-level topic")
	// ErrInvalidTopic: the store cannot hold a first-level topic of this name.
	ErrInvalidTopic = errors.New("invalid first-level topic")
	// ErrUnavailable: the store cannot be reached or does not answer now; trying again may help.
	ErrUnavailable = errors.New("store unavailable")
	// ErrStaleEpoch: a newer session of the same client has committed; this one must stop.
	ErrStaleEpoch = errors.New("commit with an old epoch")
	// ErrTooLarge: the message (payload, properties or dispatch set) does not fit a record; trying again does not help.
	ErrTooLarge = errors.New("message too large for the store")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store closed")
)

// BrokerError says which broker failed.
type BrokerError struct {
	Broker string
	Err    error
}

// Error implements error.
func (e *BrokerError) Error() string { return fmt.Sprintf("broker %q: %v", e.Broker, e.Err) }

// Unwrap returns what failed.
func (e *BrokerError) Unwrap() error { return e.Err }

// BrokerOf names the broker whose failure an error is; empty where it is none's.
func BrokerOf(err error) string {
	if e := new(BrokerError); errors.As(err, &e) {
		return e.Broker
	}
	return ""
}

// UserProperty is one MQTT 5 user property; order and repetition matter.
type UserProperty struct{ Key, Value string }

// Properties are the MQTT 5 properties of a PUBLISH that travel with the message (MQTT 5.0, 3.3.2.3).
type Properties struct {
	PayloadFormat   byte // 0 unspecified bytes, 1 UTF-8
	HasFormat       bool
	ContentType     string
	EmptyType       bool // a content type is there, and empty
	ResponseTopic   string
	CorrelationData []byte // nil where there is none; it may be there and empty
	User            []UserProperty
}

// Message is one application message as its publisher sent it. A Message is never changed once it was handed over.
type Message struct {
	// Topic is the MQTT topic name exactly as published.
	Topic string
	// Payload may be empty.
	Payload []byte
	QoS     byte
	// Retain is the flag of the PUBLISH.
	Retain bool
	// Publisher is the client id of the MQTT publisher, empty for messages of other origin.
	Publisher string
	// Identity is to whom a retained message is counted; see meta.Owner.Mark. Stores do not keep it.
	Identity string
	// Created is when the message was published (millisecond resolution).
	Created time.Time
	// Expires is when the message may no longer be delivered (MQTT 5 message expiry); zero for never.
	Expires time.Time
	// Properties is nil where there are none.
	Properties *Properties
	// Exchange names the QoS 2 exchange by which a durable session sent the message, so that the session can find out after a
	// crash what it has stored already; empty for others. Stores keep it as it is.
	Exchange string
}

// Position is where a record's one copy lies. Positions order retained values: see Before.
type Position struct {
	// Broker that holds the record ("local" for the embedded store).
	Broker string
	// Partition is the physical queue of the first-level topic, and Offset the record's offset in it.
	Partition int32
	Offset    int64
	// Log is the record's place in the broker's log (RocketMQ: commit log offset), unique on the broker; -1 if unknown.
	Log int64
	// Time is about when the broker stored the record, in milliseconds since the epoch.
	Time int64
}

// sameClock is how far apart the times of two positions on one broker may be for the place in its log to count: within it, clocks
// need not agree; beyond it, the broker may have lost its log and begun a new one.
const sameClock = time.Minute

// Before reports whether p was stored before q: on one broker by the place in its log, unless the times are far apart, else by time and
// then by broker.
func (p Position) Before(q Position) bool {
	if p.Broker == q.Broker && p.Log >= 0 && q.Log >= 0 && max(p.Time-q.Time, q.Time-p.Time) <= sameClock.Milliseconds() {
		return p.Log < q.Log
	}
	if p.Time != q.Time {
		return p.Time < q.Time
	}
	if p.Broker != q.Broker {
		return p.Broker < q.Broker
	}
	return p.Log < q.Log
}

// Same reports whether p and q are of one record. The time may differ: who appended a record knows when that was confirmed, who reads
// it knows when the broker stored it.
func (p Position) Same(q Position) bool {
	return p.Broker == q.Broker && p.Partition == q.Partition && p.Offset == q.Offset && p.Log == q.Log
}

// Entry says that a record has an entry in the light message queue Queue, at Offset, on the record's broker.
type Entry struct {
	Queue  string
	Offset int64
}

// Record is a stored message. Records are shared by all readers and never changed.
type Record struct {
	Message
	// ID is the message's identity: records with the same ID are the same message, stored again after a failure or as a
	// follow-up that carries more entries.
	ID       string
	Position Position
	// Entries are those queues of the dispatch set that this record carries, with the record's offset in each.
	Entries []Entry
	// Partial is true where the dispatch set did not fit this record: records with the same ID, stored elsewhere before it,
	// carry the other entries.
	Partial bool
}

// Offset returns the record's offset in queue.
func (r *Record) Offset(queue string) (int64, bool) {
	for i := range r.Entries {
		if r.Entries[i].Queue == queue {
			return r.Entries[i].Offset, true
		}
	}
	return 0, false
}

// Size is the record's approximate size in memory, in bytes.
func (r *Record) Size() int {
	n := 256 + len(r.Topic) + len(r.Payload) + len(r.ID)
	for i := range r.Entries {
		n += 24 + len(r.Entries[i].Queue)
	}
	if p := r.Properties; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += 32 + len(u.Key) + len(u.Value)
		}
	}
	return n
}

// Append is one append of a message.
type Append struct {
	Message *Message
	// Topic is the first-level topic (in the store's own spelling) that holds the record.
	Topic string
	// Key chooses the physical queue: appends of one topic with the same key go to the same physical queue. Only one
	// append or batch of a key may be in flight where order matters; the store does not order calls that overlap.
	Key string
	// Queues is the dispatch set: names made by package topic (topic.Queue). May be empty. No duplicates.
	Queues []string
}

// QueueRef is one light message queue on one broker.
type QueueRef struct {
	Queue  string
	Broker string
}

// Batch is what one read found.
type Batch struct {
	// Records in offset order, with the offset of each in the queue that was read. Fewer than asked for does not mean that
	// the queue is drained. None means that there was none at or after the offset, if Next is that offset; else what lies before
	// Next does not count, and the reader goes on there.
	Records []*Record
	Offsets []int64
	// Next is where to go on reading. It is past the last record, and never before the offset that was asked for, except
	// where the queue was reset (the offset lies beyond Max): then it is Min.
	Next int64
	// Min and Max are the queue's first offset and the one after its last. Min > offset asked for: records were lost to
	// retention. Max < offset asked for: the queue was reset.
	Min, Max int64
}

// Bounds are the first offset of a queue and the one after its last; both 0 for a queue that does not exist yet.
type Bounds struct{ Min, Max int64 }

// Offset is a session's progress in one queue: Next is the first offset that has not been acknowledged.
type Offset struct {
	QueueRef
	Next int64
}

// Partition is one physical queue of a first-level topic.
type Partition struct {
	Broker string
	ID     int32
}

// TailFunc receives records of one partition in order. Calls for one partition never overlap; calls for different
// partitions may. It may block: the tail of that partition then waits (the log is the buffer). The records are valid for ever.
type TailFunc func(p Partition, records []*Record)

// Group is a shared group's place in one light message queue of one broker: the records of a queue that belong to several groups
// are handed out once in each.
type Group struct {
	// Name may be any text.
	Name string
	QueueRef
}

// Handout is a record that a group was handed out.
type Handout struct {
	Record *Record
	// Receipt names this handing out, for PopAck and PopHide.
	Receipt string
	// Again: it was handed out before, and not acknowledged.
	Again bool
}

// Tail is a live read of a first-level topic, or of one queue.
type Tail interface {
	// Ends calls f for each partition that the tail follows: begin is the offset at which the tail begins in it (or went on after
	// the partition began anew), and end one below which everything lies that this process knows to be stored. Partitions of which
	// begin is not known yet are left out. It is quick, and f must not call the tail.
	Ends(f func(p Partition, begin, end int64))
	// Latest is Ends after the store was asked: all that anybody has stored before the call lies below end. Where a broker does not
	// answer, end is that of Ends for its partitions.
	Latest(ctx context.Context, f func(p Partition, begin, end int64))
	// Close stops the tail and waits until no TailFunc runs. It must not be called from the TailFunc.
	Close()
}

// TopicInfo describes a first-level topic.
type TopicInfo struct {
	Name string
	// Queues is the number of physical queues on each broker.
	Queues int
	// Brokers that have readable queues of the topic, sorted.
	Brokers []string
}

// Store keeps every message once and indexes it into light message queues.
//
// Where others than the gateway write to the store, what they write counts only if it lies in the topic that holds the first level of
// its MQTT topic, whatever queues it names: no method hands out anything else. So a record's MQTT topic tells who may have written it.
//
// Lifecycle: a constructor (validates, opens; does not wait for remote services) -> Start (begins connecting; returns at
// once) -> use -> Close (waits for what is in flight, then releases everything). Ready says whether the store can serve.
// All methods are safe for concurrent use. A method with a context returns soon after the context ends.
type Store interface {
	// Start begins background work.
	Start(ctx context.Context) error
	// Close fails what is still in flight with ErrClosed and waits for the callbacks.
	Close() error
	// Ready returns nil when the store answers, else why not (wrapping ErrUnavailable).
	Ready(ctx context.Context) error

	// Append stores a message and then calls done exactly once, from any goroutine, with the position or an error. done
	// must not block. Append itself blocks only while the bound on appends in flight is reached, or until ctx ends (done
	// then gets ctx's error). Transient failures are retried by the store until ctx ends, so after a failure of the broker
	// the message may be stored more than once, under the same ID.
	Append(ctx context.Context, a Append, done func(Position, error))
	// AppendBatch stores messages of one topic and one key in their order. It takes the first n of them, at least one and as many as
	// the store can keep together, and calls done exactly once, as Append does, with n: all n are stored, the last of them at the
	// position, or err says why not. After an error each of the n may or may not be stored, but none before one that stands in front of
	// it. The others were not looked at. The caller changes nothing in batch until done is called.
	AppendBatch(ctx context.Context, batch []Append, done func(n int, last Position, err error))

	// Read reads up to max records of a queue from an offset.
	Read(ctx context.Context, q QueueRef, offset int64, max int) (Batch, error)
	// ReadPartition reads a physical queue of a first-level topic in the same way.
	ReadPartition(ctx context.Context, topic string, p Partition, offset int64, max int) (Batch, error)
	// Bounds returns a queue's bounds.
	Bounds(ctx context.Context, q QueueRef) (Bounds, error)
	// BoundsOn returns the bounds of many queues on one broker, in their order.
	BoundsOn(ctx context.Context, broker string, queues []string) ([]Bounds, error)

	// Tail follows a first-level topic from its present end: every record stored after Tail returned reaches f, once.
	// Partitions that appear later are read from their beginning. Interruptions are survived by going on from the last
	// offset; records that retention removed meanwhile are lost, logged and counted.
	Tail(ctx context.Context, topic string, f TailFunc) (Tail, error)
	// TailQueue follows one light message queue on every broker in the same way; Partition.ID is 0.
	TailQueue(ctx context.Context, queue string, f TailFunc) (Tail, error)

	// Commit records a client's progress. Where the store can tell, a commit with an epoch below the last one seen for the
	// client fails with ErrStaleEpoch and changes nothing.
	Commit(ctx context.Context, client string, epoch int64, offsets []Offset) error
	// Committed returns a client's committed offsets of the queues; queues without one are left out.
	Committed(ctx context.Context, client string, queues []QueueRef) ([]Offset, error)
	// Forget removes a client's committed offsets of the queues, as far as the store can.
	Forget(ctx context.Context, client string, queues []QueueRef) error

	// PlaceGroup makes a group begin at an offset of its queue, whatever its progress was. What was handed out before and not
	// acknowledged may still come again. ErrTooLarge: the names of queue and group are too long together.
	PlaceGroup(ctx context.Context, g Group, offset int64) error
	// Pop hands out up to max records of a group's queue, in no promised order: such that were not handed out yet, and such
	// that came back. No Pop of the group, on any node, hands them out within hidden, if not given back; after that they come
	// again, until they are acknowledged. Where there is none, Pop waits up to wait for some and may return none. What was
	// handed out when ctx ended is returned, without an error. A group that was never placed begins at the queue's minimum.
	Pop(ctx context.Context, g Group, max int, hidden, wait time.Duration) ([]Handout, error)
	// PopAck acknowledges records that were handed out: they do not come again. A receipt whose time is over is ignored.
	PopAck(ctx context.Context, g Group, receipts []string) error
	// PopHide sets anew how long records that were handed out stay hidden, from now on; 0 gives them back, and they come again
	// soon (RocketMQ: within seconds). It returns the receipts that take the place of the old ones, empty for a record that is
	// the caller's no more, because its time was over.
	PopHide(ctx context.Context, g Group, receipts []string, hidden time.Duration) ([]string, error)
	// EndGroup removes what the store keeps of a group, as far as it can. The group is not used any more, or placed again first.
	EndGroup(ctx context.Context, g Group) error
	// GroupLeft returns about how many records of its queue a group still has before it: those that it was not handed out yet, and
	// those that came back. What is with a consumer now may or may not count. It changes nothing, also for a group that was never placed.
	GroupLeft(ctx context.Context, g Group) (int64, error)

	// Brokers returns the brokers on which queues can have records: those of the first-level topic, or all when topic is "".
	Brokers(ctx context.Context, topic string) ([]string, error)
	// Topic describes a first-level topic, or fails with ErrUnknownTopic.
	Topic(ctx context.Context, name string) (TopicInfo, error)
	// CreateTopic creates a first-level topic with a number of physical queues on each broker and returns when it can be
	// written. A topic that exists is left as it is. ErrInvalidTopic: the name is not possible in this store.
	CreateTopic(ctx context.Context, name string, queues int) error
	// Topics lists the first-level topics, without the store's own, sorted.
	Topics(ctx context.Context) ([]TopicInfo, error)
	// DeleteTopic removes a first-level topic and its records. A topic that does not exist is no error.
	DeleteTopic(ctx context.Context, name string) error
	// ValidTopic returns nil when the store can hold a first-level topic of this name, else an error wrapping ErrInvalidTopic.
	ValidTopic(name string) error
	// Limits returns what the store's present version can do.
	Limits() Limits
}

// OwnPrefix begins the names of the gateway's own topics. They are no first-level topics: ValidTopic refuses them and Topics leaves
// them out, but CreateTopic makes them.
const OwnPrefix = "lmqgate_"

// Limits are properties of a store that change how it is used.
type Limits struct {
	// SingleFeeder is true where entries of a light message queue can get lost when several physical queues feed it
	// (RocketMQ below 5.2.0): all of a first-level topic goes to one physical queue a broker, and a queue is fed by one
	// first-level topic only.
	SingleFeeder bool
	// DirectoryPerQueue is true where each queue costs a directory and a mapped file (RocketMQ's file consume queues).
	DirectoryPerQueue bool
	// Exclusive is true where only this process appends, so that a position at or past the end of its partition is of another store.
	Exclusive bool
}
