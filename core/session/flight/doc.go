// Package flight does the bookkeeping of messages in flight between a session and its client.
//
//   - A Window holds the QoS 1 and 2 messages that were sent to the client: their packet ids, the meaning of each acknowledgement, and
//     the order in which they are sent again.
//   - A Progress is how far one queue is acknowledged. Its commit offset moves over acknowledged messages without a gap.
//   - An Inbound holds the packet ids of QoS 2 messages from the client that the client has not released.
//   - A Seen remembers records that reach the session through several subscriptions.
//
// Nothing here does I/O, starts a goroutine, reads the clock or takes a lock: a session guards all of it with its own mutex.
package flight
