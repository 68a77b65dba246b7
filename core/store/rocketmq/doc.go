// Package rocketmq is the store on Apache RocketMQ: each message is one record of its first-level topic, which is a
// RocketMQ topic, and has entries in light message queues (LMQ) that the broker makes of the record's
// INNER_MULTI_DISPATCH property. RocketMQ applications produce and consume the same records; properties.go documents their
// properties, which are those of Apache RocketMQ MQTT and some of our own.
//
// Everything goes through package remoting; rocketmq-client-go's producer can be chosen for sending (see sender for why it is not the
// default).
//
// What is promised, and where it ends:
//   - Append calls done without an error only after the broker said that it has the record, as safely as it is configured to
//     (asynchronous flush by default: a record survives the death of the broker's process, not of its machine).
//   - The appends of one key go to one physical queue while the topic's route is stable. When a broker fails, its keys go to
//     the other brokers until it is back; readers read all brokers.
//   - A broker below 5.2.0 loses queue entries when several physical queues feed one LMQ, so all of a first-level topic goes to
//     queue 0 there (Limits.SingleFeeder).
//   - A dispatch set that does not fit the record's 32,767 bytes of properties goes on in follow-up records, which lie in a topic
//     of their own (in the topic itself where SingleFeeder holds), and are in nobody's tail.
//   - Committed offsets are RocketMQ consumer offsets of the group "%LMQ%"+client; brokers write them to disk every five seconds.
//
// The package never creates topics on its own account but the one for follow-ups, never relies on a broker's automatic
// creation, and never deletes records. Main types: [Store], [Options].
package rocketmq
