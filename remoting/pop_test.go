package remoting

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAReceiptIsReadAsItWasWritten(t *testing.T) {
	r := Receipt{Start: 5, Offset: 7, PopTime: 1700000000000, Hidden: 30000, ReviveQueue: 3, Retry: "1", Broker: "broker-a", Queue: 2}
	require.Equal(t, "5 1700000000000 30000 3 1 broker-a 2 7", r.String())
	back, err := ParseReceipt(r.String())
	require.NoError(t, err)
	require.Equal(t, r, back)
	require.True(t, back.Again())
	require.Equal(t, "%RETRY%g_t", r.RetryTopic("t", "g"))
	for _, bad := range []string{"", "1 2 3", "x 1 1 1 0 b 0 1", "1 1 1 1 0 b 0 ", "1 1 1 1 0 b 0 1 1"} {
		_, err := ParseReceipt(bad)
		require.ErrorIs(t, err, ErrMalformed, "%q", bad)
	}
}

// popped answers a pop with three messages: a redelivered one, one that falsely claims to be, and an ordinary one.
func popped(t *testing.T) *server {
	message := func(props ...string) []byte {
		m := sample()
		m.Properties = ""
		var b []byte
		for i := 0; i < len(props); i += 2 {
			b = AppendProperty(b, props[i], props[i+1])
		}
		m.Properties = string(b)
		return stored(m, false, m.Body)
	}
	return newServer(t, func(c *Command) *Command {
		if c.Ext["consumerGroup"] == "idle" {
			return &Command{Code: PollingTimeout, Ext: map[string]string{"restNum": "3"}}
		}
		var body []byte
		body = append(body, message(propPopped, "9 1000 60000 4 1 broker-a 0 9")...)
		body = append(body, message(propPopped, "9 999 60000 4 1 elsewhere 0 9")...)
		body = append(body, message("at", "42")...)
		places := "1 0 9;0 0 41,43"
		if c.Ext["consumerGroup"] == "unclear" {
			places += ",44"
		}
		return &Command{Code: Success, Body: body, Ext: map[string]string{"popTime": "1000", "invisibleTime": "60000", "reviveQid": "4",
			"restNum": "0", "startOffsetInfo": "1 0 9;0 0 40", "msgOffsetInfo": places}}
	})
}

func TestAPopTellsWhereEachMessageLies(t *testing.T) {
	s := popped(t)
	c := newClient(t, Config{})
	offset := func(m *Message) (int64, bool) { return 42, m.Property("at") == "42" }
	for group, last := range map[string]string{
		"g":       "40 1000 60000 4 0 broker-a 0 43", // not where it says itself
		"unclear": "40 1000 60000 4 0 broker-a 0 42", // the broker lists more places than messages
	} {
		res, err := c.PopMessage(t.Context(), s.addr(), "broker-a", PopRequest{Group: group, Topic: "t", Max: 32, Hidden: time.Minute}, offset)
		require.NoError(t, err)
		var receipts []string
		for _, m := range res.Messages {
			require.Equal(t, "hello", string(m.Body))
			receipts = append(receipts, m.Receipt.String())
		}
		require.Equal(t, []string{
			"9 1000 60000 4 1 broker-a 0 9",
			"40 1000 60000 4 0 broker-a 0 41", // a producer's claim is ignored
			last,
		}, receipts)
	}
	res, err := c.PopMessage(t.Context(), s.addr(), "broker-a", PopRequest{Group: "idle", Topic: "t"}, offset)
	require.NoError(t, err)
	require.Empty(t, res.Messages)
	require.EqualValues(t, 3, res.Rest)
}

func TestAPopWhoseAnswerLacksPlacesIsMalformed(t *testing.T) {
	ext := map[string]string{"popTime": "1", "invisibleTime": "1", "reviveQid": "1"}
	for _, offsets := range []string{"", "0 0 x", "0 0", "1 0 5"} {
		s := newServer(t, func(*Command) *Command {
			answer := map[string]string{"startOffsetInfo": "0 0 1", "msgOffsetInfo": offsets}
			maps.Copy(answer, ext)
			return &Command{Code: Success, Body: stored(sample(), false, []byte("x")), Ext: answer}
		})
		_, err := newClient(t, Config{}).PopMessage(t.Context(), s.addr(), "b", PopRequest{Group: "g", Topic: "t"},
			func(*Message) (int64, bool) { return 0, false })
		require.ErrorIs(t, err, ErrMalformed, "offsets %q", offsets)
	}
}

func TestMessagesOfOnePopAreAcknowledgedTogether(t *testing.T) {
	type acks struct {
		Broker string     `json:"brokerName"`
		Acks   []batchAck `json:"acks"`
	}
	bodies := make(chan []byte, 1)
	s := newServer(t, func(c *Command) *Command {
		require.Equal(t, CodeBatchAckMessage, c.Code)
		bodies <- c.Body
		return &Command{Code: Success}
	})
	c := newClient(t, Config{})
	of := func(start, offset, popTime int64) Receipt {
		return Receipt{Start: start, Offset: offset, PopTime: popTime, Hidden: 1, Retry: "0", Broker: "b"}
	}
	require.NoError(t, c.AckPopped(t.Context(), s.addr(), "b", "g", "t", []Receipt{of(100, 100, 1), of(100, 109, 1), of(100, 103, 2), of(7, 7, 3)}))
	var got acks
	require.NoError(t, json.Unmarshal(<-bodies, &got))
	want := []batchAck{
		{Group: "g", Topic: "t", Retry: "0", Start: 100, PopTime: 1, Hidden: 1, Bits: "AQI="}, // bits 0 and 9
		{Group: "g", Topic: "t", Retry: "0", Start: 100, PopTime: 2, Hidden: 1, Bits: "CA=="}, // bit 3
		{Group: "g", Topic: "t", Retry: "0", Start: 7, PopTime: 3, Hidden: 1, Bits: "AQ=="},
	}
	require.Equal(t, acks{"b", want}, got)
	require.ErrorIs(t, c.AckPopped(t.Context(), s.addr(), "b", "g", "t", []Receipt{of(100, 99, 1)}), ErrMalformed)
}

func TestWhatIsHiddenAnewHasANewReceipt(t *testing.T) {
	s := newServer(t, func(c *Command) *Command {
		if c.Ext["offset"] == "8" {
			return &Command{Code: NoMessage}
		}
		require.Equal(t, "%RETRY%g_t", c.Ext["topic"])
		require.Equal(t, "5 1 1 2 1 b 0 7", c.Ext["extraInfo"])
		return &Command{Code: Success, Ext: map[string]string{"popTime": "500", "invisibleTime": "30000", "reviveQid": "6"}}
	})
	c := newClient(t, Config{})
	r := Receipt{Start: 5, Offset: 7, PopTime: 1, Hidden: 1, ReviveQueue: 2, Retry: "1", Broker: "b"}
	next, err := c.HidePopped(t.Context(), s.addr(), "g", "t", r, 30*time.Second)
	require.NoError(t, err)
	require.Equal(t, "7 500 30000 6 1 b 0 7", next.String())
	r.Offset = 8
	_, err = c.HidePopped(t.Context(), s.addr(), "g", "t", r, time.Second)
	require.True(t, IsCode(err, NoMessage))
}
