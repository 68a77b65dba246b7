package local

import (
	"sync"

	"github.com/lmqgate/lmqgate/core/store"
)

const (
	recentBytes   = 4 << 20
	recentRecords = 8192
)

// recent holds the newest records in memory, so that live readers need no disk. Their places in the log have no gaps.
type recent struct {
	mu    sync.RWMutex
	base  int64 // place in the log of list[0], or of the next record
	list  []*store.Record
	bytes int
}

func (c *recent) add(r *store.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, r)
	c.bytes += r.Size()
	drop := 0
	for ; drop < len(c.list) && (c.bytes > recentBytes || len(c.list)-drop > recentRecords); drop++ {
		c.bytes -= c.list[drop].Size()
		c.list[drop] = nil
	}
	c.base += int64(drop)
	c.list = c.list[drop:] // append moves the rest to a new array from time to time
}

// get returns the record at a place in the log; nil if it is not held.
func (c *recent) get(logPlace int64) *store.Record {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if i := logPlace - c.base; i >= 0 && i < int64(len(c.list)) {
		return c.list[i]
	}
	return nil
}
