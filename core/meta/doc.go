// Package meta gives types to the metadata that a meta plugin keeps: first-level topics, the filters that have a queue,
// sessions, retained messages, wills and nodes.
//
// What is read on hot paths (topics, filters, retained messages, nodes) is held in memory and kept up to date: by Watch
// where the backend has it, else by polling a small namespace in which every gateway notes what it has changed. Sessions and
// wills can be many and are read through. What this node writes is visible to it as soon as the write returns; other nodes
// see it with the next event or poll.
//
// While the backend does not answer, the last snapshot goes on serving, writes fail with ErrUnavailable after a bounded time,
// and everything resumes by itself.
//
// The package never stores messages of the log, never talks to other gateways, and never imports a plugin.
//
// Namespaces: "LMQ" is Apache RocketMQ MQTT's own and is kept readable and writable for its gateways and for mqadmin; the
// others (NamespaceFilters and so on) hold one item a key, as JSON that an operator can read and edit.
//
// Lock order: mirror.mu, then the lock of the part that it feeds (topics, filters, retained, nodes). Callbacks to users of the
// package run without any lock.
//
// Main types: Meta (see New), Session, Retained, Will, Node.
package meta
