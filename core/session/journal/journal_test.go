package journal

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/session/flight"
	"github.com/lmqgate/lmqgate/core/store"
)

func TestAStateIsReadAsItWasWritten(t *testing.T) {
	for _, st := range []State{
		{},
		{Created: 1, Epoch: 2, Seq: 3, Counter: 4, Held: []Held{{7, 2, 4}}, Assigned: []Sent{{9, "r1"}}, Released: []Sent{{8, "r2"}, {ID: 6}},
			Finished: []string{"r3"}},
	} {
		got, ok := Decode(st.Encode())
		require.True(t, ok)
		require.Equal(t, st, got)
	}
	_, ok := Decode([]byte("no state"))
	require.False(t, ok)
}

func TestTheBytesOfAStateStayReadableForOtherVersions(t *testing.T) {
	st := State{Created: 1, Epoch: 2, Seq: 3, Counter: 4, Held: []Held{{7, 2, 4}}, Released: []Sent{{ID: 6}}, Finished: []string{"r"}}
	require.JSONEq(t, `{"created":1,"epoch":2,"seq":3,"counter":4,"held":[{"id":7,"epoch":2,"counter":4}],"released":[{"id":6}],"finished":["r"]}`,
		string(st.Encode()))
}

func TestExchangesAreReadAsTheyWereWritten(t *testing.T) {
	h := Held{ID: 65535, Epoch: 3, Counter: 4}
	require.Equal(t, "1-3-4-65535", Exchange(1, h))
	got, created, ok := ParseExchange("1-3-4-65535")
	require.True(t, ok)
	require.Equal(t, h, got)
	require.EqualValues(t, 1, created)
	for _, text := range []string{"", "1-2-3", "a-b-c-d", "1-2-3-65536"} {
		_, _, ok := ParseExchange(text)
		require.False(t, ok, text)
	}
}

func TestARecordsPacketIDIsAlwaysTheSameAndNeverZero(t *testing.T) {
	require.Equal(t, PacketID("record"), PacketID("record"))
	require.NotEqual(t, PacketID("record"), PacketID("recore"))
	for _, id := range []string{"", "a", "b", "c"} {
		require.NotZero(t, PacketID(id))
	}
}

// seq returns the records of a queue, newest first.
func seq(recs ...*store.Record) Records { return records(nil, recs...) }

// messages returns the records of an exchange queue, newest first, followed by an error.
func messages(err error, held ...Held) Records {
	recs := make([]*store.Record, len(held))
	for i, h := range held {
		recs[i] = heldRecord(1, h)
	}
	return records(err, recs...)
}

// records returns the records of a queue, newest first, followed by an error.
func records(err error, recs ...*store.Record) Records {
	return iter.Seq2[*store.Record, error](func(yield func(*store.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	})
}

func stateRecord(st State) *store.Record {
	return &store.Record{Message: store.Message{Payload: st.Encode()}}
}

func heldRecord(created int64, h Held) *store.Record {
	return &store.Record{Message: store.Message{Exchange: Exchange(created, h)}}
}

var errBroken = errors.New("the broker does not answer")

func TestTheNewestStateCounts(t *testing.T) {
	junk := &store.Record{Message: store.Message{Payload: []byte("junk")}}
	at := func(created, epoch, seq int64) *store.Record {
		return stateRecord(State{Created: created, Epoch: epoch, Seq: seq})
	}
	for _, c := range []struct {
		name       string
		best       State
		records    Records
		epoch, seq int64
		err        error
	}{
		{"there is none", State{}, records(nil), 0, 0, nil},
		{"the first one", State{}, records(nil, at(1, 2, 9), at(1, 2, 8)), 2, 9, nil},
		{"junk is passed over", State{}, records(nil, junk, at(1, 2, 9)), 2, 9, nil},
		{"another session's is passed over", State{}, records(nil, at(5, 9, 9), at(1, 2, 3)), 2, 3, nil},
		{"an older one than another broker's", State{Epoch: 3, Seq: 1}, records(nil, at(1, 2, 9)), 3, 1, nil},
		{"of the same epoch the later", State{Epoch: 3, Seq: 1}, records(nil, at(1, 3, 2)), 3, 2, nil},
		{"an error keeps what is known", State{Epoch: 3, Seq: 1}, records(errBroken, junk), 3, 1, errBroken},
		{"of a node that had the session before", State{}, records(nil, at(1, 2, 9), at(1, 4, 1), at(1, 4, 2)), 4, 1, nil},
		{"nothing behind the last node's", State{}, records(nil, at(1, 4, 1), at(1, 5, 1)), 4, 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			st, err := Newest(c.best, 1, 4, c.records)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.epoch, st.Epoch)
			require.Equal(t, c.seq, st.Seq)
		})
	}
}

func TestMessagesThatAreStoredAndNotReleasedAreFound(t *testing.T) {
	a, b, c := Held{1, 5, 1}, Held{2, 5, 2}, Held{3, 5, 3}
	next := Held{1, 6, 1} // from a later connection that reuses the packet id
	for _, tt := range []struct {
		name    string
		st      State
		records Records
		want    []Held
		err     error
	}{
		{"nothing is stored", State{Epoch: 5, Counter: 1}, messages(nil), nil, nil},
		{"there is no state yet", State{}, messages(nil, b, a), []Held{a, b}, nil},
		{"all are released", State{Epoch: 5, Counter: 3}, messages(nil, c, b, a), nil, nil},
		{"the state lists one", State{Epoch: 5, Counter: 3, Held: []Held{b}}, messages(nil, c, b, a), []Held{b}, nil},
		{"some came after the state", State{Epoch: 5, Counter: 1}, messages(nil, c, b, a), []Held{b, c}, nil},
		{"of one id the later", State{Epoch: 5, Counter: 0}, messages(nil, next, a), []Held{next}, nil},
		{"the later one also where it is read last", State{Epoch: 5, Counter: 0}, messages(nil, a, next), []Held{next}, nil},
		{"an error keeps what is known", State{Epoch: 5, Counter: 0}, messages(errBroken, c), []Held{c}, errBroken},
		{"one came late", State{Epoch: 5, Counter: 1}, messages(nil, Held{9, 4, 7}, c, b, a), []Held{b, c}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			held := map[uint16]Stored{}
			require.ErrorIs(t, Unreleased(&tt.st, 1, tt.records, held), tt.err)
			var got []Held
			for _, h := range held {
				got = append(got, h.Held)
			}
			slices.SortFunc(got, func(a, b Held) int { return int(a.ID) - int(b.ID) })
			require.Equal(t, tt.want, got)
		})
	}
	// Records of an earlier session of the same client id are skipped. A record that names no exchange ends the search.
	held := map[uint16]Stored{}
	other := heldRecord(9, c)
	require.NoError(t, Unreleased(&State{}, 1, seq(other, heldRecord(1, a), &store.Record{}, heldRecord(1, b)), held))
	require.Equal(t, map[uint16]Stored{1: {Held: a}}, held)
	retained := heldRecord(1, a)
	retained.Retain, retained.Position.Offset = true, 5
	clear(held)
	require.NoError(t, Unreleased(&State{}, 1, seq(retained), held))
	require.Equal(t, map[uint16]Stored{1: {Held: a, Retained: &retained.Position}}, held)
}

// received adds a message to the window and marks it as received by the client.
func received(w *flight.Window, m *flight.Message) {
	w.Add(m)
	w.Ack(packet.PUBREC, m.ID, packet.Success)
}

func TestWhatAStateSays(t *testing.T) {
	var j Journal
	var in flight.Inbound
	var out flight.Window
	held, _ := in.Take(7, nil)
	require.Equal(t, Held{7, 5, 1}, j.Number(7, 5, held))
	in.Take(8, nil) // never noted in the journal
	received(&out, &flight.Message{ID: 1, QoS: 2, RecordID: "r1"})
	received(&out, &flight.Message{ID: 2, QoS: 2, Noted: true})
	out.Add(&flight.Message{ID: 3, QoS: 2, Noted: true})
	out.Add(&flight.Message{ID: 4, QoS: 2, RecordID: "r4", Assigned: true})
	out.Add(&flight.Message{ID: 5, QoS: 2, RecordID: "r5"})
	st := j.State(1, 5, &in, &out)
	require.ElementsMatch(t, []Sent{{1, "r1"}, {ID: 2}, {ID: 3}}, st.Released)
	st.Released = nil
	require.Equal(t, State{Created: 1, Epoch: 5, Seq: 1, Counter: 1, Held: []Held{{7, 5, 1}}, Assigned: []Sent{{4, "r4"}}}, st)
	require.EqualValues(t, 2, j.State(1, 5, &in, &out).Seq)
}

func TestARestoredJournalSaysTheSameAgain(t *testing.T) {
	st := State{Created: 1, Epoch: 5, Seq: 9, Counter: 4, Assigned: []Sent{{4, "r4"}}, Released: []Sent{{1, "r1"}}, Finished: []string{"r9"}}
	var j Journal
	var in flight.Inbound
	var out flight.Window
	require.False(t, j.Recorded(""))
	j.Restore(map[string]bool{"T": true}, &st, map[uint16]Stored{7: {Held: Held{7, 5, 4}}}, &in, &out)
	require.True(t, j.Recorded(""))
	require.True(t, j.Recorded("T"))
	require.False(t, j.Recorded("U"))
	require.True(t, j.Stale(), "PUBREL is sent again")
	got := j.State(1, 6, &in, &out)
	want := State{Created: 1, Epoch: 6, Seq: 1, Held: []Held{{7, 5, 4}}, Assigned: st.Assigned, Released: st.Released, Finished: st.Finished}
	require.Equal(t, want, got)
	require.False(t, j.Stale())
	require.True(t, out.Taken(4), "the client may have it")
	m := &flight.Message{QoS: 2, RecordID: "r4"}
	require.True(t, j.ChoosePacketID(m, &out))
	require.EqualValues(t, 4, m.ID)
	require.False(t, out.Taken(4), "until it is sent")
}

func TestPacketIDsOfQoS2Messages(t *testing.T) {
	var j Journal
	var out flight.Window
	own := &flight.Message{QoS: 2, RecordID: "r"}
	require.True(t, j.ChoosePacketID(own, &out), "its own id needs no journal")
	require.Equal(t, PacketID("r"), own.ID)
	out.Add(own)
	same := &flight.Message{QoS: 2, RecordID: "r"}
	require.False(t, j.ChoosePacketID(same, &out), "the id is taken")
	require.True(t, same.Assigned)
	require.Zero(t, same.ID, "the window chooses")
	retained := &flight.Message{QoS: 2}
	require.False(t, j.ChoosePacketID(retained, &out))
	require.True(t, retained.Noted)
}

func TestARecordThatTheClientHasIsNotSentAgainUntilItsQueuesAreCommittedPastIt(t *testing.T) {
	var j Journal
	var in flight.Inbound
	var out flight.Window
	p := flight.Recorded(store.QueueRef{Queue: "q"}, 0)
	p.Resume(0)
	finish := func(m *flight.Message) {
		j.Finish(m)
		out.Complete(m)
	}
	m := &flight.Message{QoS: 2, RecordID: "r"}
	out.Add(m)
	p.Track(1, m)
	finish(m)
	require.Equal(t, 1, j.Finished())
	require.True(t, j.Has("r", nil, 0))
	require.Equal(t, []string{"r"}, j.State(1, 1, &in, &out).Finished)
	for _, c := range flight.Commits([]*flight.Progress{&p}) {
		c.Done()
	}
	require.Empty(t, j.State(1, 1, &in, &out).Finished)
	require.False(t, j.Has("r", nil, 0))

	for name, m := range map[string]*flight.Message{
		"QoS 1":                {QoS: 1, RecordID: "a"},
		"a retained message":   {QoS: 2, Noted: true},
		"a record of no queue": {QoS: 2, RecordID: "c"},
	} {
		out.Add(m)
		finish(m)
		require.Zero(t, j.Finished(), name)
	}

	// A message that is known from the journal alone: if a queue brings it later, the record of the queue counts.
	j.Restore(map[string]bool{}, &State{Released: []Sent{{3, "r"}}}, nil, &in, &out)
	finish(out.Get(3))
	require.Equal(t, []string{"r"}, j.State(1, 1, &in, &out).Finished, "no queue has brought it yet")
	require.True(t, j.Has("r", &p, 2))
	require.Equal(t, []string{"r"}, j.State(1, 1, &in, &out).Finished)
	p.Track(2, nil)
	for _, c := range flight.Commits([]*flight.Progress{&p}) {
		c.Done()
	}
	require.Empty(t, j.State(1, 1, &in, &out).Finished)
}

func TestTheTopicsOfAJournalAreBounded(t *testing.T) {
	var j Journal
	require.False(t, j.Covers("T"))
	j.Cover("T")
	require.True(t, j.Covers("T"))
	topics := map[string]bool{}
	for i := range maxTopics {
		require.False(t, j.Full())
		topics[string(rune('a'+i))] = true
		j.SetRecorded(topics)
	}
	require.True(t, j.Full())
}

// shelf is a Keeper whose stores take as long as the test wants.
type shelf struct {
	prepares, stores, failures int
	prepared, stored           error
	gate                       chan struct{}
}

func (s *shelf) Run(f func())   { go f() }
func (s *shelf) Prepare() error { s.prepares++; return s.prepared }
func (s *shelf) Store() error   { s.stores++; <-s.gate; return s.stored }
func (s *shelf) Failed(error)   { s.failures++ }

func TestStatesAreStoredOneAtATimeAndShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{gate: make(chan struct{})}
		w := Writer{Keeper: s}
		told := 0
		note := func() { w.Note(func(err error) { require.NoError(t, err); told++ }) }
		note()
		synctest.Wait()
		for range 5 {
			note()
		}
		synctest.Wait()
		require.Equal(t, 1, s.stores)
		s.gate <- struct{}{}
		synctest.Wait()
		require.Equal(t, 1, told)
		s.gate <- struct{}{}
		synctest.Wait()
		require.Equal(t, 6, told)
		require.Equal(t, 2, s.stores)
		require.Equal(t, 2, s.prepares)
		note()
		s.gate <- struct{}{}
		synctest.Wait()
		require.Equal(t, 7, told)
		require.Zero(t, s.failures)
	})
}

func TestAStateThatCannotBeStoredIsSaidToAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{gate: make(chan struct{}), prepared: errBroken}
		w := Writer{Keeper: s}
		var told []error
		note := func() { w.Note(func(err error) { told = append(told, err) }) }
		note()
		synctest.Wait()
		require.Zero(t, s.stores)
		s.prepared, s.stored = nil, errBroken
		note()
		s.gate <- struct{}{}
		synctest.Wait()
		require.Equal(t, []error{errBroken, errBroken}, told)
		require.Equal(t, 2, s.failures)
	})
}
