// Package backlog counts, again and again, how far durable sessions and shared groups are behind, so that operators see who is far
// behind without asking for each. Each session is counted by one node. Counting takes a fifth of the time at most, so it slows nothing
// down; with many sessions on RocketMQ a round takes minutes, and Summary.At says how old its result is.
package backlog
