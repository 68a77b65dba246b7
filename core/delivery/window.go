package delivery

import "github.com/lmqgate/lmqgate/core/store"

// entry is one record in a window. It is held until every reader that was live when it came has read it.
type entry struct {
	rec *store.Record
	// offset is the record's offset in the queue, or -1 in windows of a tail.
	offset int64
	refs   int32
	// foreign marks a record of the queue whose topic does not match the filter: readers pass over it.
	foreign bool
	// late marks a record at an offset that had already passed (offsets can repeat). Readers take it wherever their cursor is. In windows
	// of a tail it marks a record that is in the filter's queue as well: it is handed out as Item.Early.
	late bool
	from origin
}

// window is a run of records in order of arrival, numbered by sequence. Its source's mutex guards it.
type window struct {
	entries []entry
	head    int    // entries before head are gone
	base    uint64 // sequence number of entries[head]
	bytes   int64
}

func (w *window) len() int             { return len(w.entries) - w.head }
func (w *window) end() uint64          { return w.base + uint64(w.len()) }
func (w *window) first() *entry        { return &w.entries[w.head] }
func (w *window) at(seq uint64) *entry { return &w.entries[w.head+int(seq-w.base)] }

func (w *window) push(e entry) {
	if w.head > 32 && w.head*2 > len(w.entries) {
		n := copy(w.entries, w.entries[w.head:])
		clear(w.entries[n:])
		w.entries = w.entries[:n]
		w.head = 0
	}
	w.entries = append(w.entries, e)
	w.bytes += int64(e.rec.Size())
}

// pop drops the oldest entry and returns its size.
func (w *window) pop() int64 {
	e := &w.entries[w.head]
	n := int64(e.rec.Size())
	*e = entry{}
	w.head++
	w.base++
	w.bytes -= n
	if w.head == len(w.entries) {
		w.head = 0
		if cap(w.entries) > keepEntries {
			w.entries = nil
		} else {
			w.entries = w.entries[:0]
		}
	}
	return n
}

// origin is where a record of a tail window can be read again: a physical queue or, for point-to-point messages, a light message queue.
type origin struct {
	topic     string
	partition store.Partition
	queue     string
	offset    int64
}

// key is the origin without its offset.
func (o origin) key() origin { o.offset = 0; return o }

const (
	// keepEntries is the capacity that an empty window keeps.
	keepEntries = 16
	// maxEntries and maxBytes bound one window. Readers that fall out of it read the store.
	maxEntries = 8192
	maxBytes   = 8 << 20
	// lingerEntries is how many records a queue's window keeps for readers that are catching up, so that they can join.
	lingerEntries = 128
)
