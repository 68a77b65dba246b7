package local

import "encoding/binary"

// The first byte of a key is its kind. Numbers in keys are big-endian, so that keys sort like the numbers.
const (
	kindMeta   = 'm' // m{name}                                  facts about the store
	kindTopic  = 't' // t{first-level topic}                     -> when it was created, number of queues
	kindName   = 'q' // q{queue name}                            -> queue id
	kindNext   = 'n' // n{queue id}                              -> lower bound of the next offset, after entries were removed
	kindIndex  = 'x' // x{queue id}{offset}                      -> place in the log
	kindRecord = 'r' // r{place in the log}                      -> record
	kindCommit = 'c' // c{length of client}{client}{queue name}  -> next offset
	kindEpoch  = 'e' // e{client}                                -> epoch
	kindGroup  = 'g' // g{length of group}{group}{length of queue name}{queue name} -> the offset below which everything is acknowledged
	kindSpan   = 'a' // a{as for g}{offset}                      -> the offset after the last of a run of acknowledged offsets
)

var (
	keyFormat    = []byte("mformat")
	keyStoreID   = []byte("mid")
	keyLastQueue = []byte("mqueues") // the highest queue id assigned
	keyNextLog   = []byte("mlog")    // lower bound of the next place in the log, after records were removed
	keyAhead     = []byte("mahead")  // upper bound of the places in the log that were given; see gaps.go
	keyGaps      = []byte("mgaps")   // the places that crashes left without a record; see gaps.go
)

// partitionQueue is the queue name of a first-level topic's partition. Queue names from package topic contain no control characters, so
// they never collide with it.
func partitionQueue(topic string) string { return "\x00" + topic }

func appendName(b []byte, kind byte, name string) []byte {
	return append(append(b, kind), name...)
}

func appendNumber(b []byte, kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, kind), n)
}

func appendIndex(b []byte, queue uint64, offset int64) []byte {
	return binary.BigEndian.AppendUint64(appendNumber(b, kindIndex, queue), uint64(offset))
}

func indexOffset(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[9:17])) }

func recordLog(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[1:9])) }

func appendCommitPrefix(b []byte, client string) []byte {
	b = binary.AppendUvarint(append(b, kindCommit), uint64(len(client)))
	return append(b, client...)
}

func number(value []byte) (uint64, bool) {
	if len(value) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(value), true
}
