// Package topic holds the rules of MQTT topic names and filters, and the names of the queues behind them.
//
// It validates names and filters (MQTT 5.0, sections 1.5.4 and 4.7), matches them (Match for one pair, Trie for one name
// against many filters), tells which first-level topic they belong to (First), and gives the light message queue of
// each (Queue, P2PQueue, RetryQueue, P2PBucket, ExchangeQueue, SessionQueue).
//
// The package is pure computation: it opens nothing, starts no goroutine, and imports nothing of the gateway. It never
// decides who may use a topic, nor whether a first-level topic exists.
//
// # Queue names
//
// A queue name is the name of a RocketMQ light message queue without its "%LMQ%" prefix. Its forms are disjoint, so a
// queue name never stands for two things:
//
//	plain     T, T%a%, %p2p%c%, %retry%c%    no "%" at all, or "%" as the last byte
//	escaped   T%a~2Cb%%e                     a topic or filter that has no plain name
//	own       %p2p%a~2Cb%%o                  a p2p or retry queue whose client id has no plain name; ExchangeQueue, SessionQueue
//	bucket    p2pbucket%07%b                 see P2PBucket
//	hashed    T%<SHA-256 in hex>%h           any of the above that would be too long for a broker
//
// Plain names are byte for byte those of Apache RocketMQ MQTT. "T/a" and "T/a/" share one, as there: a queue is an
// index, and readers compare the topic of each record with the filter they serve.
package topic
