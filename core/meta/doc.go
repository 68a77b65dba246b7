// Package meta gives types to the metadata that a meta plugin stores: first-level topics, the filters that have a queue, sessions, retained
// messages, wills and nodes.
//
// What hot paths read (topics, filters, retained messages, nodes) is held in memory and kept up to date: by Watch if the backend supports
// it, otherwise by polling a small namespace in which every gateway records what it has changed. Sessions and wills may be many, so they
// are read from the backend each time. This node sees its own writes as soon as they return; other nodes see them with the next event or
// poll.
//
// While the backend does not answer, the last snapshot continues to serve reads, writes fail with ErrUnavailable after a bounded time, and
// everything recovers by itself.
//
// The package never stores messages of the log, never talks to other gateways, and never imports a plugin.
//
// Namespaces: "LMQ" belongs to Apache RocketMQ MQTT and stays readable and writable for its gateways and for mqadmin. The other namespaces
// (NamespaceFilters and so on) hold one item per key, as JSON that an operator can read and edit.
//
// Lock order: mirror.mu, then the lock of the part that the mirror feeds (topics, filters, retained, nodes). Callbacks to users of the
// package run without any lock.
//
// Main types: Meta (see New), Session, Retained, Will, Node.
package meta
