package delivery

import "github.com/lmqgate/lmqgate/core/store"

// A broker writes a record's offset in a queue into the record before it indexes the record. If a RocketMQ producer names a queue twice in
// one record, the broker counts twice and indexes once. From then on, until the broker is restarted, all records of the queue state offsets
// beyond their places, and the places count: a read of the queue goes by them. A view notices it as a gap, and reads the store. As long as
// the two differ, the tail only says that there is something to read.

// shiftOf returns how far the offset that a record states lies beyond its place in a queue.
func shiftOf(rec *store.Record, queue string, place int64) int64 {
	own, ok := rec.Offset(queue)
	if !ok {
		return 0
	}
	return max(0, own-place)
}

// learn compares what the last record of a read of the queue states with its place. It reports whether the window was given up, because it
// may hold records at offsets that are not their places. Called with the source's mutex held.
func (v *queueView) learn(b store.Batch) bool {
	n := len(b.Records)
	if n == 0 || b.Records[n-1].Position.Log <= v.judged {
		return false
	}
	was, last := v.shift, b.Records[n-1]
	v.judged, v.shift = last.Position.Log, shiftOf(last, v.ref.Queue, b.Offsets[n-1])
	if was > 0 || v.shift == 0 {
		return false
	}
	v.src.hub.log.Warn("records state offsets beyond their places in the queue; a producer has named the queue twice in one record",
		"queue", v.ref.Queue, "broker", v.ref.Broker, "by", v.shift)
	for _, e := range v.pending {
		v.due = max(v.due, e.rec.Position.Log)
	}
	v.forget()
	return true
}

// await makes the view read the queue up to a record that the tail has brought. Called with the source's mutex held.
func (v *queueView) await(rec *store.Record) {
	v.due = max(v.due, rec.Position.Log)
	if v.known && v.missing() {
		v.look()
	}
	v.wake()
}

// missing reports whether the tail has brought a record that has not been read from the queue yet. Brokers index records in the order of
// their log.
func (v *queueView) missing() bool { return v.shift > 0 && v.due > v.got }
