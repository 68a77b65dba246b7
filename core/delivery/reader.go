package delivery

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/store"
)

// ErrTooFarBehind says that a live reader's backlog exceeds the bound and is not read again from the store.
var ErrTooFarBehind = errors.New("subscription is too far behind")

// Item is one record as a reader hands it out.
type Item struct {
	Record *store.Record
	// Next is the offset to commit once this record and all before it are acknowledged. Only QueueReaders set it.
	Next int64
	// Early: the record is not for live delivery. It has the retain flag, so it may have to be sent to a new subscription as retained. It
	// lies before the start of a tail reader or, if it is in the filter's queue, possibly before the start of that queue's reader.
	Early bool
	// Lease is set by GroupReaders only. The reader's owner holds the record until it acknowledges or returns the lease.
	Lease *Lease
}

// State says what to do after a call to Next.
type State uint8

// The states of a reader.
const (
	// Idle: nothing more for now; the owner is signalled when there is.
	Idle State = iota
	// Ready: there may be more; call Next again.
	Ready
	// Behind: the next records are no longer in memory; call Fetch.
	Behind
)

// Owner is signalled when a reader has something to read. ReaderReady is called with locks held: it must not block and must not call the
// reader.
type Owner interface {
	ReaderReady(r Reader)
}

// Reader is a cursor on a source. One goroutine at a time may use it. A new reader counts as ready.
type Reader interface {
	// Next appends up to limit items that are in memory to out.
	Next(limit int, out []Item) ([]Item, State)
	// Fetch reads records that are no longer in memory from the store, and may wait for them. It may return neither items nor an error.
	Fetch(ctx context.Context, limit int, out []Item) ([]Item, error)
	// Skip gives up the reader's backlog. It returns the greatest number of the topic's records that this can have been.
	Skip() int64
	// Filter returns the filter of the reader's source; empty for the client's point-to-point queue.
	Filter() string
	// Close ends the reader. Its owner is not signalled afterwards.
	Close()
}

var (
	_ Reader = (*QueueReader)(nil)
	_ Reader = (*LiveReader)(nil)
)
