// Package store is the contract of the message log: each message is stored once and indexed into light message queues.
//
// A first-level topic keeps its records in physical queues (partitions). A light message queue (LMQ) is an index over records. It has one
// sequence of offsets for each broker. A position says where a record is stored. The package contains the interface (Store) and its types.
// The implementations are store/rocketmq and store/local; both pass the conformance suite store/storetest.
//
// A queue is only an index. It does not prove that a record belongs to a subscription, because queue names can collide. Readers match the
// topic of each record against the filter.
package store
