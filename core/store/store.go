package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Errors that callers act on. Stores wrap them with details of the failure.
var (
	// ErrUnknownTopic: the first-level topic does not exist in the store.
	ErrUnknownTopic = errors.New("unknown first-level topic")
	// ErrInvalidTopic: the store cannot hold a first-level topic of this name.
	ErrInvalidTopic = errors.New("invalid first-level topic")
	// ErrUnavailable: the store cannot be reached or does not answer now; a retry may help.
	ErrUnavailable = errors.New("store unavailable")
	// ErrStaleEpoch: a newer session of the same client has committed; this session must stop.
	ErrStaleEpoch = errors.New("commit with an old epoch")
	// ErrTooLarge: the message (payload, properties or dispatch set) does not fit a record; a retry does not help.
	ErrTooLarge = errors.New("message too large for the store")
	// ErrClosed: the store is closed.
	ErrClosed = errors.New("store closed")
)

// BrokerError names the broker that failed.
type BrokerError struct {
	Broker string
	Err    error
}

// Error implements error.
func (e *BrokerError) Error() string { return fmt.Sprintf("broker %q: %v", e.Broker, e.Err) }

// Unwrap returns the underlying error.
func (e *BrokerError) Unwrap() error { return e.Err }

// BrokerOf returns the broker whose failure caused err; empty if none did.
func BrokerOf(err error) string {
	if e := new(BrokerError); errors.As(err, &e) {
		return e.Broker
	}
	return ""
}

// UserProperty is one MQTT 5 user property. Order and repetition are significant.
type UserProperty struct{ Key, Value string }

// Properties are the MQTT 5 properties of a PUBLISH that travel with the message (MQTT 5.0, 3.3.2.3).
type Properties struct {
	PayloadFormat   byte // 0: unspecified bytes, 1: UTF-8
	HasFormat       bool
	ContentType     string
	EmptyType       bool // a content type is present but empty
	ResponseTopic   string
	CorrelationData []byte // nil: absent; it may be present but empty
	User            []UserProperty
}

// Message is one application message as its publisher sent it. A Message must not be changed once it was handed over.
type Message struct {
	// Topic is the MQTT topic name exactly as published.
	Topic string
	// Payload may be empty.
	Payload []byte
	QoS     byte
	// Retain is the flag of the PUBLISH.
	Retain bool
	// Publisher is the client id of the MQTT publisher; empty for messages of other origin.
	Publisher string
	// Identity is the identity under which a retained message is counted; see meta.Owner.Mark. Stores do not keep it.
	Identity string
	// Created is when the message was published (millisecond resolution).
	Created time.Time
	// Expires is when the message may no longer be delivered (MQTT 5 message expiry); zero: never.
	Expires time.Time
	// Properties is nil if there are none.
	Properties *Properties
	// Exchange names the QoS 2 exchange in which a durable session sent the message, so that the session can find out after a crash which
	// messages are stored already; empty for other messages. Stores keep it unchanged.
	Exchange string
}

// Position is where the only copy of a record lies. Positions order retained values: see Before.
type Position struct {
	// Broker holds the record ("local" for the embedded store).
	Broker string
	// Partition is the physical queue of the first-level topic, and Offset the record's offset in it.
	Partition int32
	Offset    int64
	// Log is the record's place in the broker's log (RocketMQ: commit log offset), unique on the broker; -1 if unknown.
	Log int64
	// Time is approximately when the broker stored the record, in milliseconds since the epoch.
	Time int64
}

// sameClock is how far apart the times of two positions on one broker may be for the log offsets to decide their order. If the times differ
// more, the broker may have lost its log and begun a new one.
const sameClock = time.Minute

// Before reports whether p was stored before q. On one broker the log offset decides, unless the times are far apart. Otherwise the time
// decides, and then the broker's name.
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

// Same reports whether p and q belong to one record. Their times may differ: the node that appended a record knows when the append was
// confirmed; a reader knows when the broker stored the record.
func (p Position) Same(q Position) bool {
	return p.Broker == q.Broker && p.Partition == q.Partition && p.Offset == q.Offset && p.Log == q.Log
}

// Entry says that a record is in the light message queue Queue, at Offset, on the record's broker.
type Entry struct {
	Queue  string
	Offset int64
}

// Record is a stored message. Readers share records, so a record must not be changed.
type Record struct {
	Message
	// ID identifies the message. Records with the same ID are the same message, stored again after a failure or as a follow-up that carries
	// more entries.
	ID       string
	Position Position
	// Entries are the queues of the dispatch set that this record carries, with the record's offset in each.
	Entries []Entry
	// Partial is true if the dispatch set did not fit this record. Records with the same ID, stored elsewhere before it, carry the other
	// entries.
	Partial bool
	// Cuts is how often the log of the record's broker had been cut when the record was read; see Store.Cuts. It is 0 for records that were
	// not read from a queue.
	Cuts int32
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

// UserProperties returns the message's user properties; nil if it has none.
func (m *Message) UserProperties() []UserProperty {
	if m.Properties == nil {
		return nil
	}
	return m.Properties.User
}

// Size returns the record's approximate size in memory, in bytes.
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
	// Key selects the physical queue: appends to one topic with the same key go to the same physical queue. If order matters, only one
	// append or batch of a key may be in flight at a time; the store does not order overlapping calls.
	Key string
	// Queues is the dispatch set: names made by package topic (topic.Queue). It may be empty, and must not contain duplicates.
	Queues []string
	// Identity is the identity that the message comes from, if that is known. A busy store may divide its capacity among identities, and
	// among the publishers of each.
	Identity string
	// Holder may be nil. While it holds the record, the store does not try again after a failure, but returns ErrUnavailable.
	Holder Holder
}

// Holder reports whether a record may not be stored for now.
type Holder interface{ Held() bool }

// QueueRef is one light message queue on one broker.
type QueueRef struct {
	Queue  string
	Broker string
}

// Batch is the result of one read.
type Batch struct {
	// Records are in offset order; Offsets holds the offset of each in the queue that was read. Fewer records than asked for do not mean
	// that the queue is drained. If there are no records and Next is the requested offset, there is none at or after that offset. If Next
	// is greater, the entries before Next do not count, and the reader continues at Next.
	Records []*Record
	Offsets []int64
	// Next is where to continue reading. It is past the last record, and never before the requested offset. The exception is a queue that
	// was reset (the offset lies beyond Max): then it is Min.
	Next int64
	// Min is the queue's first offset, Max the one after its last. If Min is greater than the requested offset, records were lost to
	// retention. If Max is less, the queue was reset.
	Min, Max int64
	// Cuts is how often the broker's log had been cut when the batch was read; see Store.Cuts.
	Cuts int32
}

// Mark stands for everything that a broker's log had at some moment. Stores make and compare marks; others only keep them. Empty: nothing
// is known of the log.
type Mark string

// Bounds are the first offset of a queue and the one after its last; both are 0 for a queue that does not exist yet.
type Bounds struct{ Min, Max int64 }

// Offset is a session's progress in one queue: Next is the first offset that is not acknowledged.
type Offset struct {
	QueueRef
	Next int64
}

// Partition is one physical queue of a first-level topic.
type Partition struct {
	Broker string
	ID     int32
}

// TailFunc receives records of one partition in order. Calls for one partition never overlap; calls for different partitions may. It may
// block: the tail of that partition then waits (the log is the buffer). The records stay valid for ever.
type TailFunc func(p Partition, records []*Record)

// Group is a shared group's place in one light message queue on one broker. If several groups read a queue, each group is handed out every
// record once.
type Group struct {
	// Name may be any string.
	Name string
	QueueRef
}

// Handout is a record that was handed out to a group.
type Handout struct {
	Record *Record
	// Receipt identifies this handout, for PopAck and PopHide.
	Receipt string
	// Again: the record was handed out before and was not acknowledged.
	Again bool
}

// Tail is a live read of a first-level topic, or of one queue.
type Tail interface {
	// Ends calls f for each partition that the tail follows. begin is the offset at which the tail began in the partition (or continued
	// after the partition began again). Everything that this process knows to be stored lies below end. Partitions whose begin is not known
	// yet are left out. Ends is quick, and f must not call the tail.
	Ends(f func(p Partition, begin, end int64))
	// Latest is Ends after asking the store: everything that anyone stored before the call lies below end. For the partitions of a broker
	// that does not answer, end is that of Ends.
	Latest(ctx context.Context, f func(p Partition, begin, end int64))
	// Close stops the tail and waits until no TailFunc runs. It must not be called from the TailFunc.
	Close()
}

// TopicInfo describes a first-level topic.
type TopicInfo struct {
	Name string
	// Queues is the number of physical queues on each broker.
	Queues int
	// Brokers are the brokers that have readable queues of the topic, sorted.
	Brokers []string
}

// Store stores every message once and indexes it into light message queues.
//
// If others than the gateway write to the store, their records count only if they lie in the topic that holds the first level of their MQTT
// topic, whatever queues they name. No method hands out any other record. So a record's MQTT topic shows who may have written it.
//
// Life cycle: a constructor (validates and opens; does not wait for remote services) -> Start (begins connecting; returns at once) -> use
// -> Close (waits for what is in flight, then releases everything). Ready reports whether the store can serve. All methods are safe for
// concurrent use. A method with a context returns soon after the context ends.
type Store interface {
	// Start starts background work.
	Start(ctx context.Context) error
	// Close fails what is still in flight with ErrClosed, and waits for the callbacks.
	Close() error
	// Ready returns nil if the store answers; otherwise an error that wraps ErrUnavailable.
	Ready(ctx context.Context) error

	// Append stores a message and then calls done exactly once, from any goroutine, with the position or an error. done must not block.
	// Append itself blocks only while the bound on appends in flight is reached, at most until ctx ends (done then gets ctx's error). The
	// store retries transient failures until ctx ends. So after a failure of the broker the message may be stored more than once, under the
	// same ID.
	Append(ctx context.Context, a Append, done func(Position, error))
	// AppendBatch stores messages of one topic and one key in order. It takes the first n of them, at least one and as many as the store
	// can store together, and calls done exactly once, as Append does, with n. Without an error all n are stored, the last of them at
	// position last. After an error each of the n may or may not be stored, but none is stored without those in front of it. The other
	// messages were not looked at. The caller must not change batch until done is called.
	AppendBatch(ctx context.Context, batch []Append, done func(n int, last Position, err error))

	// Read reads up to max records of a queue, starting at an offset.
	Read(ctx context.Context, q QueueRef, offset int64, max int) (Batch, error)
	// ReadPartition is Read for a physical queue of a first-level topic.
	ReadPartition(ctx context.Context, topic string, p Partition, offset int64, max int) (Batch, error)
	// Bounds returns a queue's bounds.
	Bounds(ctx context.Context, q QueueRef) (Bounds, error)
	// BoundsOn returns the bounds of many queues on one broker, in the order of queues.
	BoundsOn(ctx context.Context, broker string, queues []string) ([]Bounds, error)

	// Cuts returns how often a broker's log was cut, as far as this process has read from it. A log is cut where its newest records are
	// lost and others may take their offsets: a slave that was behind has become the master, or a disk has lost what was not written. A
	// reader whose offset was valid before a cut continues where Resume says.
	Cuts(broker string) int32
	// Mark returns a mark of the newest record that this process had read from the broker while its log had been cut that often.
	Mark(broker string, cuts int32) Mark
	// Resume returns where a reader continues that has passed every record of a queue before next, in the log that the mark is of. It is
	// next unless the log was cut since. Else it is the first offset at which there is, or will be, another record than the reader has
	// passed; at most next. What cannot be told apart counts as another record. The offset is valid after the number of cuts returned.
	Resume(ctx context.Context, q QueueRef, next int64, m Mark) (at int64, cuts int32, err error)

	// Tail follows a first-level topic from its present end: every record stored after Tail returned reaches f once. Partitions that appear
	// later are read from their beginning. After an interruption the tail continues at its last offset. Records that retention removed
	// meanwhile are lost, logged and counted.
	Tail(ctx context.Context, topic string, f TailFunc) (Tail, error)
	// TailQueue is Tail for one light message queue on every broker; Partition.ID is 0.
	TailQueue(ctx context.Context, queue string, f TailFunc) (Tail, error)

	// Commit records a client's progress. If the store tracks epochs, a commit with an epoch below the last one of the client fails with
	// ErrStaleEpoch and changes nothing (fencing).
	Commit(ctx context.Context, client string, epoch int64, offsets []Offset) error
	// Committed returns a client's committed offsets of the queues. Queues without one are left out.
	Committed(ctx context.Context, client string, queues []QueueRef) ([]Offset, error)
	// Forget removes a client's committed offsets of the queues, as far as the store can.
	Forget(ctx context.Context, client string, queues []QueueRef) error

	// PlaceGroup makes a group begin at an offset of its queue, whatever its progress was. Records that were handed out before and not
	// acknowledged may still come again. It returns ErrTooLarge if the names of queue and group together are too long.
	PlaceGroup(ctx context.Context, g Group, offset int64) error
	// Pop hands out up to max records of a group's queue, in no promised order: records that were not handed out yet, and records that came
	// back. hidden is the visibility timeout: until it passes, no Pop of the group, on any node, hands out these records again unless they
	// are given back. After it, they come again until they are acknowledged. If there is no record, Pop waits up to wait, and may return
	// none. If ctx ends, Pop returns the records already handed out, without an error. A group that was never placed begins at the queue's
	// minimum.
	Pop(ctx context.Context, g Group, max int, hidden, wait time.Duration) ([]Handout, error)
	// PopAck acknowledges records that were handed out, so that they do not come again. A receipt whose visibility timeout has passed is
	// ignored.
	PopAck(ctx context.Context, g Group, receipts []string) error
	// PopHide sets the remaining visibility timeout of records that were handed out. 0 gives them back, and they come again soon (RocketMQ:
	// within seconds). It returns the receipts that replace the old ones; an empty one means that the caller no longer holds the record,
	// because its visibility timeout had passed.
	PopHide(ctx context.Context, g Group, receipts []string, hidden time.Duration) ([]string, error)
	// EndGroup removes, as far as possible, what the store keeps about a group. Before the group is used again, it must be placed again.
	EndGroup(ctx context.Context, g Group) error
	// GroupLeft returns approximately how many records of its queue a group still has to handle: those not handed out yet, and those that
	// came back. Records that a consumer holds now may or may not count. GroupLeft changes nothing, even for a group that was never placed.
	GroupLeft(ctx context.Context, g Group) (int64, error)

	// Brokers returns the brokers on which queues can have records: those of the first-level topic, or all of them if topic is "".
	Brokers(ctx context.Context, topic string) ([]string, error)
	// Topic describes a first-level topic, or fails with ErrUnknownTopic.
	Topic(ctx context.Context, name string) (TopicInfo, error)
	// CreateTopic creates a first-level topic with a number of physical queues on each broker, and returns once it is writable. An existing
	// topic is left as it is. It returns ErrInvalidTopic if the store cannot have a topic of this name.
	CreateTopic(ctx context.Context, name string, queues int) error
	// Topics lists the first-level topics, without the gateway's own, sorted.
	Topics(ctx context.Context) ([]TopicInfo, error)
	// DeleteTopic removes a first-level topic and its records. Deleting a topic that does not exist is not an error.
	DeleteTopic(ctx context.Context, name string) error
	// ValidTopic returns nil if the store can hold a first-level topic of this name; otherwise an error that wraps ErrInvalidTopic.
	ValidTopic(name string) error
	// Limits returns the properties of the store in its present version.
	Limits() Limits
}

// OwnPrefix begins the names of the gateway's own topics. They are not first-level topics: ValidTopic refuses them and Topics leaves them
// out, but CreateTopic accepts them.
const OwnPrefix = "lmqgate_"

// Limits are properties of a store that change how it is used.
type Limits struct {
	// SingleFeeder is true if entries of a light message queue can get lost when several physical queues feed it (RocketMQ below 5.2.0).
	// All records of a first-level topic then go to one physical queue per broker, and only one first-level topic may feed a queue.
	SingleFeeder bool
	// DirectoryPerQueue is true if each queue costs a directory and a mapped file (RocketMQ's file-based consume queues).
	DirectoryPerQueue bool
	// Exclusive is true if only this process appends. A position at or past the end of its partition then belongs to another store.
	Exclusive bool
}
