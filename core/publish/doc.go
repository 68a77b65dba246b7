// Package publish turns one PUBLISH into one stored record. It asks the catalog for the store's topic, determines the dispatch set (the
// queues that the message goes to), keeps the order that MQTT promises, and sets retained values.
//
// A Publisher serves the whole node. Each connection of a client publishes through Lanes. A message waits only for earlier messages from
// the same client to the same topic, because a store may reorder overlapping appends. The callback of a message runs once the message is
// durable and, for a retained message, once the retained value is durable too; nothing is acknowledged before. After a failure that the
// client cannot be told about, the messages behind the failed one are withheld, because the client sends them again.
package publish
