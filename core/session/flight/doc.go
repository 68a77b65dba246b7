// Package flight is the bookkeeping of messages that are under way between a session and its client.
//
//   - A Window holds the QoS 1 and 2 messages that the client was sent: packet ids, what an acknowledgement means, the order in
//     which they are sent again.
//   - A Progress is how far one queue is acknowledged: its commit offset moves over acknowledged messages without a gap.
//   - An Inbound holds the packet ids of QoS 2 messages from the client that it has not released.
//   - A Seen remembers records that come through several subscriptions.
//
// Nothing here does I/O, starts a goroutine, reads the clock or takes a lock: a session guards all of it with its own mutex.
package flight
