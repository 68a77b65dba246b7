package flight

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

func TestWhatAnAcknowledgementAsksFor(t *testing.T) {
	sent := func(qos byte) *Message { return &Message{ID: 7, QoS: qos, Content: &store.Message{}} }
	received := func() *Message { return &Message{ID: 7, QoS: 2, Received: true} }
	released := func() *Message { return &Message{ID: 7, QoS: 2, Received: true, Released: true} }
	for _, c := range []struct {
		name string
		m    *Message
		kind packet.Type
		id   uint16
		code packet.Code
		want Step
	}{
		{"PUBACK of QoS 1", sent(1), packet.PUBACK, 7, packet.Success, Complete},
		{"PUBACK with a failure", sent(1), packet.PUBACK, 7, packet.UnspecifiedError, Complete},
		{"PUBACK of QoS 2", sent(2), packet.PUBACK, 7, packet.Success, Nothing},
		{"PUBACK of another id", sent(1), packet.PUBACK, 8, packet.Success, Nothing},
		{"PUBREC of QoS 1", sent(1), packet.PUBREC, 7, packet.Success, Nothing},
		{"PUBREC of another id", sent(2), packet.PUBREC, 8, packet.Success, Unknown},
		{"the first PUBREC", sent(2), packet.PUBREC, 7, packet.Success, Release},
		{"PUBREC with no subscribers", sent(2), packet.PUBREC, 7, packet.NoMatchingSubscribers, Release},
		{"PUBREC with a failure", sent(2), packet.PUBREC, 7, packet.QuotaExceeded, Complete},
		{"PUBREC while the journal is written", received(), packet.PUBREC, 7, packet.Success, Wait},
		{"PUBREC again", released(), packet.PUBREC, 7, packet.Success, ReleaseAgain},
		{"PUBCOMP before PUBREC", sent(2), packet.PUBCOMP, 7, packet.Success, Nothing},
		{"PUBCOMP before PUBREL", received(), packet.PUBCOMP, 7, packet.Success, Nothing},
		{"PUBCOMP", released(), packet.PUBCOMP, 7, packet.Success, Complete},
		{"PUBCOMP of another id", released(), packet.PUBCOMP, 8, packet.Success, Nothing},
	} {
		t.Run(c.name, func(t *testing.T) {
			var w Window
			w.Add(c.m)
			m, step := w.Ack(c.kind, c.id, c.code)
			require.Equal(t, c.want, step)
			if c.id == 8 {
				require.Nil(t, m)
				return
			}
			require.Same(t, c.m, m)
			if step == Release {
				require.True(t, m.Received)
				require.Nil(t, m.Content)
			}
		})
	}
}

func TestPacketIDsAreFreeAndNeverZero(t *testing.T) {
	var w Window
	w.BeginAfter(65533)
	w.Reserve(65535)
	own := &Message{ID: 1, QoS: 2}
	w.Add(own)
	var ids []uint16
	for range 3 {
		m := &Message{QoS: 1}
		w.Add(m)
		ids = append(ids, m.ID)
	}
	require.Equal(t, []uint16{65534, 2, 3}, ids)
	require.True(t, w.Taken(65535))
	w.Unreserve(65535)
	require.False(t, w.Taken(65535))
	w.Remove(own)
	require.True(t, own.Done)
	require.False(t, w.Taken(1))
	require.Equal(t, 3, w.Len())
}

func TestAWindowFindsItsMessagesAndCostsNothingWhenItIsEmpty(t *testing.T) {
	var w Window
	require.Nil(t, w.Get(1))
	require.Nil(t, w.OfRecord("r"))
	m := &Message{QoS: 1, RecordID: "r"}
	w.Add(m)
	require.Same(t, m, w.Get(m.ID))
	require.Same(t, m, w.OfRecord("r"))
	require.False(t, w.Complete(m), "no queue waits for it")
	require.Nil(t, w.byID)
	require.Nil(t, w.byRecord)
}

func TestWhatQueuesBringAgainIsGivenUpAndAllElseStays(t *testing.T) {
	var w Window
	p := Recorded(queue, 10)
	p.Placed = true
	add := func(id uint16, m Message) *Message {
		m.ID, m.QoS, m.Content = id, 2, &store.Message{}
		w.Add(&m)
		return &m
	}
	under, received, retained := add(1, Message{RecordID: "a"}), add(2, Message{RecordID: "b"}), add(3, Message{})
	p.Track(11, under)
	p.Track(12, received)
	p.Cursor = 12
	w.Ack(packet.PUBREC, 2, packet.Success)
	require.Equal(t, []*Message{under}, w.GiveUp())
	p.GiveUp()
	require.Equal(t, int64(10), p.Cursor)
	require.Nil(t, w.OfRecord("a"))
	require.True(t, under.Done)
	require.Equal(t, []*Message{retained, received}, []*Message{w.Get(3), w.OfRecord("b")})
	require.True(t, received.Recalled, "the queue brings it again")
	require.Empty(t, received.Marks())
	require.False(t, retained.Recalled)
	p.Track(11, nil)
	p.Track(12, received)
	require.True(t, w.Complete(received))
	require.Equal(t, int64(12), next(&p))
}

func TestTheOrderOfSendingAgain(t *testing.T) {
	var w Window
	all := map[string]*Message{}
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		all[name] = &Message{QoS: 2, RecordID: name}
		w.Add(all[name])
	}
	// d and b are received, in this order, and released. e is received and waits for the journal.
	for _, name := range []string{"d", "b", "e"} {
		_, step := w.Ack(packet.PUBREC, all[name].ID, packet.Success)
		require.Equal(t, Release, step)
		all[name].Released = name != "e"
	}
	var order []string
	for _, m := range w.InOrder() {
		order = append(order, m.RecordID)
	}
	require.Equal(t, []string{"d", "b", "a", "c", "e"}, order)
}
