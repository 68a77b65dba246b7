package delivery

import (
	"context"
	"errors"

	"github.com/lmqgate/lmqgate/core/store"
)

// ErrTooFarBehind says that a live reader's backlog is over the bound, and will not be read again from the store.
var ErrTooFarBehind = errors.New("subscription is too far behind")

// Item is one record as a reader hands it out.
type Item struct {
	Record *store.Record
	// Next is what to commit once this record and all before it are acknowledged. It has a meaning for QueueReaders only.
	Next int64
	// Early: the reader does not bring this record. It has the retain flag, so it may be what a new subscription is to be sent as
	// retained: it lies before the start of a reader of a tail, or, if the filter's queue has it, it may lie before the start of
	// that queue's reader.
	Early bool
	// Lease is set by GroupReaders only: the record is the reader's until it is acknowledged or returned.
	Lease *Lease
}

// State says what to do after a call to Next.
type State uint8

// States of a reader.
const (
	// Idle: nothing more now; the owner is told when there is.
	Idle State = iota
	// Ready: there may be more; call Next again.
	Ready
	// Behind: what comes next is no longer in memory; call Fetch.
	Behind
)

// Owner is told that a reader has something to read. ReaderReady is called with locks held: it must not block and must not
// call the reader.
type Owner interface {
	ReaderReady(r Reader)
}

// Reader is a cursor on a source. A reader is used by one goroutine at a time. A new reader counts as ready.
type Reader interface {
	// Next appends up to limit items that are in memory to out.
	Next(limit int, out []Item) ([]Item, State)
	// Fetch reads from the store what is no longer in memory, and may wait for it. It may return no items and no error.
	Fetch(ctx context.Context, limit int, out []Item) ([]Item, error)
	// Skip gives up what the reader is behind with, and returns how many records of the topic that was at most.
	Skip() int64
	// Filter is the filter of the reader's source, empty for the client's point-to-point queue.
	Filter() string
	// Close ends the reader; its owner is not told of anything any more.
	Close()
}

var (
	_ Reader = (*QueueReader)(nil)
	_ Reader = (*LiveReader)(nil)
)
