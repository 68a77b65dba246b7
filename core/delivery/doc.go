// Package delivery brings records from the store to sessions.
//
// A Hub tails each first-level topic that a local subscription needs, once for all its subscribers. It routes every record to the sources
// (one for each filter in use on this node) that match the record's own topic. A session reads a source through readers, each with its own
// cursor:
//
//   - a QueueReader reads one light message queue on one broker, for durable subscriptions. Its cursor is an offset that can be committed.
//     Records that have left memory are read again from the queue.
//   - a LiveReader reads what the tail brings, for subscriptions that end with their connection and for records that are missing from the
//     filter's queue. Records that have left memory are read again from the topic's physical queues, within a bound.
//   - a GroupReader reads a shared group, whose records the store hands out once in the whole cluster.
//
// Live delivery and catch-up are the same operation, a read at a cursor. Memory holds a window of the latest records. A reader whose cursor
// lies before the window reads the store until it has caught up. So a slow reader costs a cursor, never unbounded memory.
//
// The package never talks to clients, never acknowledges anything to them, and knows no packet ids: see package session.
//
// Lock order: Hub.routing, Hub.mu, source.mu, then whatever an Owner takes in ReaderReady (a leaf lock). A reader is used by one goroutine
// at a time, its session's pump.
package delivery
