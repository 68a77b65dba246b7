package local

import (
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

const (
	// While pebble's memtables have this many bytes, or this many level 0 files lie on top of each other, only light appends are committed.
	// Pebble fills one memtable, and writes the others to a table once they have half of a memtable's bytes: so it is writing one then.
	// At memTablesStop memtables and stopAfter files it stops all writes.
	memTablesPressed = memTableBytes + memTableBytes/2
	memTablesStop    = 4
	filesPressed     = 12
)

// pressure tells whether pebble is close to stopping all writes, because it writes its tables more slowly than records come in.
type pressure struct {
	changed atomic.Bool // pebble has begun or written tables since the last look
	high    bool        // at the last look; used by the committer only
}

// pressed reports whether only light appends should be committed now. Only the committer may call it.
func (s *Store) pressed() bool {
	if s.pressure.changed.Load() && s.pressure.changed.Swap(false) {
		m := s.db.Metrics()
		s.pressure.high = m.MemTable.Size >= memTablesPressed || m.Levels[0].Sublevels >= filesPressed
	}
	return s.pressure.high
}

// tablesChanged makes the committer look at the pressure again. Pebble calls it with locks held.
func (s *Store) tablesChanged() {
	s.pressure.changed.Store(true)
	s.append.look()
}

// watchTables adds to l what pressed needs to know.
func (s *Store) watchTables(l *pebble.EventListener) {
	l.WALCreated = func(pebble.WALCreateInfo) { s.tablesChanged() } // with each memtable
	l.FlushEnd = func(pebble.FlushInfo) { s.tablesChanged() }
	l.CompactionEnd = func(pebble.CompactionInfo) { s.tablesChanged() }
}
