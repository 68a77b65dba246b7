// Package topic implements the rules of MQTT topic names and filters, and the names of their queues.
//
// It validates names and filters (MQTT 5.0, sections 1.5.4 and 4.7), matches them (Match for one pair, Trie for one name against
// many filters), returns their first-level topic (First), and names their light message queues (Queue, P2PQueue, RetryQueue,
// P2PBucket, ExchangeQueue, SessionQueue, InboxQueue).
//
// The package only computes. It opens nothing, starts no goroutine, and imports no other package of lmqgate. It does not decide who may use
// a topic, or whether a first-level topic exists.
//
// # Queue names
//
// A queue name is the name of a RocketMQ light message queue without its prefix "%LMQ%". The forms do not overlap, so a queue name
// has one meaning:
//
//	plain     T, T%a%, %p2p%c%, %retry%c%    no "%" at all, or "%" as the last byte
//	escaped   T%a~2Cb%%e                     a topic or filter that has no plain name
//	own       %p2p%a~2Cb%%o                  a p2p or retry queue whose client id has no plain name;
//	                                         ExchangeQueue, SessionQueue, InboxQueue
//	bucket    p2pbucket%07%b                 see P2PBucket
//	hashed    T%<SHA-256 in hex>%h           any of the above that would be too long for a broker
//
// Plain names are byte for byte those of Apache RocketMQ MQTT. "T/a" and "T/a/" share a queue, as they do there: readers match the
// topic of each record against their filter.
package topic
