// Package publish turns one PUBLISH into one stored record: it asks the catalog for the store's topic, finds the dispatch set (the
// queues that the message goes to), keeps the order that MQTT promises, and sets retained values.
//
// A Publisher serves the node. Each connection of a client publishes through Lanes: a message waits only for earlier messages of
// the same client to the same topic, because a store may let appends that overlap overtake each other. The callback of a message
// runs once the message is durable, and for a retained one once the retained value is as well; nothing is acknowledged before.
// After a failure that the client cannot be told, what waits behind the message is withheld, because the client sends it again.
package publish
