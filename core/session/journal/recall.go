package journal

import (
	"iter"

	"github.com/lmqgate/lmqgate/core/store"
)

// Records are the records of a queue, the newest first. An error ends them.
type Records = iter.Seq2[*store.Record, error]

// Newest returns the state that counts: best, or the last one of a session in the records, if that is newer.
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

// Unreleased adds to held the messages from the client that are stored and that the state does not say are released. records are
// those of an exchange queue.
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
		case of != created: // of an earlier session of the client id
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
