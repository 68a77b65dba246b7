// Package session is the state of MQTT sessions: subscriptions, messages in flight in both directions, cursors, takeover,
// expiry and wills.
//
// A Session ties its parts to a connection: package record has what is recorded, package flight what is under way to and from the
// client, package journal what QoS 2 needs after a crash.
//
// A Manager holds the sessions of this node. A session that outlives its connection (a durable one) is recorded through
// package meta; its cursors are committed to the store over acknowledged messages only, so everything but the packet ids in
// flight survives the process. A session that ends with its connection lives in memory only.
//
// Life of a session: Manager.Connect (takes over an older connection, resumes or begins) -> Session.Start -> Subscribe,
// Unsubscribe, Publish, Ack, in the order of the client's packets -> Session.Detach -> resumed by another Connect, or ended.
//
// Delivery: feeds (one for each queue and broker, or one for the tail) become ready; the session's pump, a goroutine that
// exists only while there is something to do, takes records from them while the client's window and the connection's buffer
// have room. An acknowledgement marks the record in every feed that brought it, and a feed's commit offset moves over
// acknowledged records only.
//
// The package never touches sockets or bytes (see package mqtt) and decides nothing about who may do what (see package auth).
//
// Locks, in order: a client id's lock (Manager.lock), Session.changing, Session.commitMu, Session.mu, the locks of package delivery,
// then Manager.mu and commits.mu, or one of the leaves: turns.mu, and the mutexes of a record.Record and a journal.Writer. Only the
// client id's lock and commitMu are held over calls of the store and the metadata. A Record orders its writes, and a Writer its states, by
// themselves; package flight has no locks.
package session
