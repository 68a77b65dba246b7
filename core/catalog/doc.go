// Package catalog knows which topic of the store holds a first-level topic: it resolves, ensures, creates, deletes and forgets
// first-level topics for publishing, delivery, sessions and the admin API.
//
// A Catalog answers from memory where it can, else from the metadata (Resolve) or the store (Ensure). What it remembers is
// bounded: known topics by count, refused names by count, bytes and time, because clients choose those.
//
// It never touches a message, a queue or a session. Whoever must act when a topic appears watches it (Watch).
package catalog
