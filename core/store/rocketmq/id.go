package rocketmq

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// ids makes message ids in the form of RocketMQ's clients: 16 bytes in upper-case hexadecimal, with the time (milliseconds since the start
// of the month) in bytes 10 to 13, where mqadmin looks for it. The first ten bytes, an address and a process id in other clients, are
// random, because containers may share both.
type ids struct {
	prefix  [10]byte
	counter atomic.Uint32
}

func newIDs() *ids {
	g := &ids{}
	_, _ = rand.Read(g.prefix[:]) // never fails
	return g
}

func (g *ids) next() string {
	var b [16]byte
	copy(b[:], g.prefix[:])
	now := time.Now()
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, now.Location())
	binary.BigEndian.PutUint32(b[10:], uint32(now.Sub(month).Milliseconds()))
	binary.BigEndian.PutUint16(b[14:], uint16(g.counter.Add(1)))
	var text [32]byte
	for i, c := range b {
		text[2*i], text[2*i+1] = upperHex[c>>4], upperHex[c&15]
	}
	return string(text[:])
}

const upperHex = "0123456789ABCDEF"
