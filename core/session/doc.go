// Package session holds the state of MQTT sessions: subscriptions, messages in flight in both directions, cursors, takeover, expiry and
// wills.
//
// A Session ties its parts to a connection. Package record holds the state that is recorded, package flight the messages in flight in both
// directions, package journal what QoS 2 needs after a crash.
//
// A Manager holds the sessions of this node. A session that outlives its connection (a durable session) is recorded through package meta.
// Its cursors are committed to the store over acknowledged messages only, so everything except the packet ids in flight survives the
// process. A session that ends with its connection lives in memory only.
//
// Life of a session: Manager.Connect (takes over an older connection, resumes or begins the session) -> Session.Start -> Subscribe,
// Unsubscribe, Publish, Ack, in the order of the client's packets -> Session.Detach -> resumed by another Connect, or ended.
//
// Delivery: a session has one feed for each queue on each broker, or one for the tail. Feeds become ready. The session's pump, a goroutine
// that exists only while there is work, takes records from them while the client's window and the connection's buffer have room. An
// acknowledgement marks the record in every feed that brought it. A feed's commit offset moves over acknowledged records only.
//
// The package never touches sockets or bytes (see package mqtt) and never decides who may do what (see package auth).
//
// Lock order: a client id's lock (Manager.lock), Session.changing, Session.committing, Session.mu, the locks of package delivery, then
// Manager.mu and commits.mu, or one of the leaf locks: turns.mu, and the mutexes of a record.Record and a journal.Writer. Only the client
// id's lock, Session.changing and committing are held across calls to the store and the metadata. A Record orders its own writes, and a
// Writer orders its own states. Package flight has no locks.
package session
