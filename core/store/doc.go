// Package store is the contract with the log: every message is stored once and indexed into light message queues.
//
// Words: a first-level topic holds records in physical queues (partitions); a light message queue (LMQ) is an index over
// records, one sequence of offsets for each broker; a position is where a record lies. The package holds the contract
// (Store), its types, and no code that stores anything: see store/rocketmq and store/local, and the conformance suite that
// both pass, store/storetest.
//
// A queue is an index, never proof that a record belongs to a subscription: names can collide, so readers match each record's
// own topic against the filter.
package store
