// Package catalog maps first-level topics to topics of the store: it resolves, ensures, creates, deletes and forgets first-level topics for
// publishing, delivery, sessions and the admin API.
//
// A Catalog answers from memory if it can, otherwise from the metadata (Resolve) or the store (Ensure). Its caches are bounded: known
// topics by count, refused names by count, bytes and time, because clients choose those.
//
// It never touches a message, a queue or a session. Code that must act when a topic appears uses Watch.
package catalog
