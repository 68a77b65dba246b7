package remoting

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func jsonFrame(header string) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(header)))
	return append(b, header...)
}

const plainAnswer = `{"code":0,"extFields":{"queueId":"3","TRACE_ON":"true","MSG_REGION":"DefaultRegion",` +
	`"msgId":"7F00000100002A9F00000000000001F4","queueOffset":"12345"},"flag":1,"language":"JAVA","opaque":77,` +
	`"serializeTypeCurrentRPC":"JSON","version":493}`

func TestTheAnswerToASendIsReadInPlace(t *testing.T) {
	a, ok := parseAnswer(jsonFrame(plainAnswer))
	require.True(t, ok)
	require.EqualValues(t, 77, a.opaque)
	require.EqualValues(t, 3, a.queue)
	require.EqualValues(t, 12345, a.offset)
	require.Equal(t, "7F00000100002A9F00000000000001F4", string(a.id))
	frame := jsonFrame(plainAnswer)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { parseAnswer(frame) }), 1.0)
}

func TestABinaryAnswerToASendIsReadToo(t *testing.T) {
	frame, err := (&Command{Opaque: 9, Flag: flagResponse, Binary: true, Ext: map[string]string{"queueId": "1", "queueOffset": "5"}}).AppendFrame(nil)
	require.NoError(t, err)
	a, ok := parseAnswer(frame[4:])
	require.True(t, ok)
	require.EqualValues(t, 5, a.offset)
}

func TestWhatIsNoPlainGoodAnswerIsLeftToTheGeneralDecoder(t *testing.T) {
	for _, header := range []string{
		``, `{`, `{}`, `[]`, `null`, plainAnswer + " ", plainAnswer[:len(plainAnswer)-1],
		`{"code":1,"extFields":{"queueId":"0","queueOffset":"1"},"flag":1,"opaque":1}`,
		`{"code":0,"extFields":{"queueId":"0","queueOffset":"1"},"flag":0,"opaque":1}`,
		`{"code":0,"extFields":{"queueId":"0"},"flag":1,"opaque":1}`,
		`{"code":0,"extFields":{"queueId":"-1","queueOffset":"1"},"flag":1,"opaque":1}`,
		`{"code":0,"extFields":{"queueId":"0","queueOffset":"1"},"flag":1,"opaque":1,"remark":"a\"b"}`,
		`{"code":0,"extFields":{"queueId":0,"queueOffset":"1"},"flag":1,"opaque":1}`,
		`{"code":0.5,"extFields":{"queueId":"0","queueOffset":"1"},"flag":1,"opaque":1}`,
		`{"code":99999999999999999999,"flag":1,"opaque":1}`,
	} {
		_, ok := parseAnswer(jsonFrame(header))
		require.False(t, ok, "%s", header)
	}
	_, ok := parseAnswer(binary.BigEndian.AppendUint32(nil, 100))
	require.False(t, ok, "a header longer than its frame")
}

func FuzzAnswer(f *testing.F) {
	f.Add(jsonFrame(plainAnswer))
	f.Add(jsonFrame(`{"a":{"b":{"c":1}}}`))
	f.Fuzz(func(_ *testing.T, frame []byte) { parseAnswer(frame) })
}

// sendServer answers sends with increasing offsets.
func sendServer(t *testing.T) *server {
	var offset atomic.Int64
	return newServer(t, func(r *Command) *Command {
		if r.Code != CodeSendMessageV2 || r.Ext["b"] == "silent" {
			return nil
		}
		if r.Ext["b"] == "full" {
			return &Command{Code: 14, Remark: "disk full"}
		}
		return &Command{Ext: map[string]string{
			"queueId": r.Ext["e"], "queueOffset": fmt.Sprint(offset.Add(1) - 1), "msgId": "7F00000100002A9F00000000000001F4",
		}}
	})
}

func TestManySendsAreAnsweredOnceEach(t *testing.T) {
	s := sendServer(t)
	c := newClient(t, Config{})
	const n = 2000
	results := make(chan SendResult, n)
	for range n {
		c.Send(s.addr(), SendRequest{Group: "g", Topic: "t", Queue: 2, Body: []byte("x")}, time.Minute, func(r SendResult, err error) {
			if err != nil {
				t.Error(err)
			}
			results <- r
		})
	}
	seen := map[int64]bool{}
	for range n {
		r := <-results
		require.False(t, seen[r.QueueOffset])
		seen[r.QueueOffset] = true
		require.EqualValues(t, 2, r.Queue)
		require.EqualValues(t, 500, r.Log)
	}
}

func TestASendThatIsRefusedSaysWhy(t *testing.T) {
	s := sendServer(t)
	c := newClient(t, Config{})
	_, err := c.SendMessage(t.Context(), s.addr(), SendRequest{Topic: "full"})
	require.True(t, IsCode(err, 14))
	require.ErrorContains(t, err, "disk full")
}

func TestASendWithoutAnswerEndsInTime(t *testing.T) {
	s := sendServer(t)
	c := newClient(t, Config{})
	failed := make(chan error, 1)
	c.Send(s.addr(), SendRequest{Topic: "silent"}, 300*time.Millisecond, func(_ SendResult, err error) { failed <- err })
	select {
	case err := <-failed:
		require.ErrorIs(t, err, ErrConnection)
	case <-time.After(time.Minute):
		t.Fatal("the send is never given up")
	}
}

func TestClosingTheClientEndsSends(t *testing.T) {
	s := sendServer(t)
	c := New(Config{})
	failed := make(chan error, 2)
	done := func(_ SendResult, err error) { failed <- err }
	_, err := c.SendMessage(t.Context(), s.addr(), SendRequest{Topic: "t"})
	require.NoError(t, err)
	c.Send(s.addr(), SendRequest{Topic: "silent"}, time.Minute, done)
	require.NoError(t, c.Close())
	c.Send(s.addr(), SendRequest{Topic: "t"}, time.Minute, done)
	require.ErrorIs(t, <-failed, ErrClosed)
	require.ErrorIs(t, <-failed, ErrClosed)
}

func TestASendToNobodyFails(t *testing.T) {
	c := newClient(t, Config{})
	_, err := c.SendMessage(t.Context(), "127.0.0.1:1", SendRequest{Topic: "t"})
	require.ErrorIs(t, err, ErrConnection)
}

func TestASignedSendHasItsSignature(t *testing.T) {
	got := make(chan map[string]string, 1)
	s := newServer(t, func(r *Command) *Command {
		got <- r.Ext
		return &Command{Ext: map[string]string{"queueId": "0", "queueOffset": "0"}}
	})
	c := newClient(t, Config{Credentials: Credentials{AccessKey: "ak", SecretKey: "sk"}})
	_, err := c.SendMessage(t.Context(), s.addr(), SendRequest{Topic: "t", Properties: []Property{{Name: "k", Value: "v"}}})
	require.NoError(t, err)
	ext := <-got
	require.Equal(t, "ak", ext[fieldAccessKey])
	require.NotEmpty(t, ext[fieldSignature])
	require.Equal(t, "k\x01v\x02", ext["i"])
}
