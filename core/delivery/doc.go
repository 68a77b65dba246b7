// Package delivery brings records from the store to sessions.
//
// A Hub tails each first-level topic that a local subscription needs, once for all its subscribers, and routes every record
// to the sources (one for each filter in use on this node) that match the record's own topic. A session reads a source
// through readers, each with a cursor of its own:
//
//   - a QueueReader reads one light message queue on one broker, for durable subscriptions: its cursor is an offset that can
//     be committed, and what has left memory is read again from the queue;
//   - a LiveReader reads what the tail brings, for subscriptions that end with their connection and for records that lack
//     the filter's queue: what has left memory is read again from the topic's physical queues, within a bound.
//
// Live delivery and catch-up are the same read at a cursor: memory holds a window on what came last, and a reader whose cursor
// lies before the window reads the store until it has caught up. So a slow reader costs a cursor, never unbounded memory.
//
// The package never talks to clients, never acknowledges anything, and knows no packet ids: see package session.
//
// Locks, in order: Hub.routing, Hub.mu, source.mu, then whatever an Owner takes in ReaderReady (a leaf). Readers are used by one goroutine
// at a time, their session's pump.
package delivery
