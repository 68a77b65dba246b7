// Package backlog continuously counts the backlogs of durable sessions and shared groups, so that operators see who is far behind without
// asking for each client. Each session is counted by one node. Counting takes at most a fifth of the time, so it slows nothing down. With
// many sessions on RocketMQ a round takes minutes; Summary.At says how old a result is.
package backlog
