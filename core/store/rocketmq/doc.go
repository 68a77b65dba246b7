// Package rocketmq is the store on Apache RocketMQ. Each message is one record of its first-level topic, which is a RocketMQ topic. The
// broker creates entries for it in light message queues (LMQ) from the record's INNER_MULTI_DISPATCH property. RocketMQ applications
// produce and consume the same records. properties.go documents their properties, which are those of Apache RocketMQ MQTT and some of our
// own.
//
// All requests go through package remoting. Optionally, rocketmq-client-go's producer sends messages (see sender for why it is not the
// default).
//
// Guarantees and their limits:
//   - Append calls done without an error only after the broker has confirmed the record, as durably as the broker is configured (by default
//     it flushes asynchronously: a record survives the death of the broker's process, but not of its machine).
//   - Appends with one key go to one physical queue while the topic's route is stable. When a broker fails, its keys go to the other
//     brokers until it is back; readers read all brokers.
//   - A broker below 5.2.0 loses queue entries if several physical queues feed one LMQ, so all records of a first-level topic go to queue 0
//     there (Limits.SingleFeeder).
//   - A dispatch set that does not fit the record's 32,767 bytes of properties continues in follow-up records. These lie in a topic of
//     their own (or in the topic itself, if SingleFeeder holds), and no tail brings them.
//   - Committed offsets are RocketMQ consumer offsets of the group "%LMQ%"+client; brokers write them to disk every five seconds.
//
// The package creates no topics on its own initiative except the one for follow-ups, never relies on a broker's automatic topic creation,
// and never deletes records. Main types: [Store], [Options].
package rocketmq
