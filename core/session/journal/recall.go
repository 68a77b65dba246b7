package journal

import (
	"iter"

	"github.com/lmqgate/lmqgate/core/store"
)

// Records iterates over the records of a queue, newest first. An error ends the iteration.
type Records = iter.Seq2[*store.Record, error]

// late is how many records of a node that no longer has the session may lie behind those of the node that has it. Such a node has few
// records under way when it loses the session; the store may take them later.
const late = 64

// Newest returns the newer of best and the session's newest state in the records. epoch is that of the last node that had the session. The
// last record may be one of a node that had the session before.
func Newest(best State, created, epoch int64, records Records) (State, error) {
	looked := 0
	for rec, err := range records {
		if err != nil {
			return best, err
		}
		st, ok := Decode(rec.Payload)
		if !ok || st.Created != created {
			continue
		}
		if st.after(&best) {
			best = st
		}
		if looked++; st.Epoch >= epoch || looked > late {
			break
		}
	}
	return best, nil
}

// Stored is a stored message from the client that the client has not released.
type Stored struct {
	Held
	// Retained is the position of a record with the retain flag; else nil. The node that stored it may have ended before it recorded the
	// retained message.
	Retained *store.Position
}

// Unreleased adds to held the stored messages from the client that the state does not list as released. records are those of an exchange
// queue.
func Unreleased(st *State, created int64, records Records, held map[uint16]Stored) error {
	listed := make(map[Held]bool, len(st.Held))
	lowest := Held{Epoch: st.Epoch, Counter: st.Counter + 1}
	for _, h := range st.Held {
		listed[h] = true
		if h.before(lowest) {
			lowest = h
		}
	}
	last := Held{Epoch: st.Epoch, Counter: st.Counter}
	older := 0 // in a row
	for rec, err := range records {
		if err != nil {
			return err
		}
		h, of, ok := ParseExchange(rec.Exchange)
		switch {
		case !ok:
			return nil
		case of != created: // an earlier session of the client id
			continue
		case h.before(lowest):
			if older++; older > late {
				return nil
			}
			continue
		case listed[h] || last.before(h):
			if newest, ok := held[h.ID]; !ok || newest.before(h) {
				found := Stored{Held: h}
				if rec.Retain {
					found.Retained = &rec.Position
				}
				held[h.ID] = found
			}
		}
		older = 0
	}
	return nil
}
