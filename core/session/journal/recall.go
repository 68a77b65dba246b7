package journal

import (
	"iter"

	"github.com/lmqgate/lmqgate/core/store"
)

// Records iterates over the records of a queue, newest first. An error ends the iteration.
type Records = iter.Seq2[*store.Record, error]

// Newest returns the newer of best and the session's newest state in the records.
func Newest(best State, created int64, records Records) (State, error) {
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
		break
	}
	return best, nil
}

// Unreleased adds to held the stored messages from the client that the state does not list as released. records are those of an exchange
// queue.
func Unreleased(st *State, created int64, records Records, held map[uint16]Held) error {
	listed := make(map[Held]bool, len(st.Held))
	lowest := Held{Epoch: st.Epoch, Counter: st.Counter + 1}
	for _, h := range st.Held {
		listed[h] = true
		if h.before(lowest) {
			lowest = h
		}
	}
	last := Held{Epoch: st.Epoch, Counter: st.Counter}
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
			return nil
		case listed[h] || last.before(h):
			if newest, ok := held[h.ID]; !ok || newest.before(h) {
				held[h.ID] = h
			}
		}
	}
	return nil
}
