package remoting

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// parts splits the body of a batch into its messages.
func parts(t *testing.T, body []byte) (out []string) {
	t.Helper()
	for len(body) > 0 {
		size := binary.BigEndian.Uint32(body)
		one := body[:size]
		body = body[size:]
		require.Equal(t, make([]byte, 12), one[4:16])
		n := binary.BigEndian.Uint32(one[16:])
		payload, rest := one[20:20+n], one[20+n:]
		require.Len(t, rest[2:], int(binary.BigEndian.Uint16(rest)))
		out = append(out, fmt.Sprintf("%s %q", payload, rest[2:]))
	}
	return out
}

func TestABatchIsOneRequestWithItsMessagesInOrder(t *testing.T) {
	for name, credentials := range map[string]Credentials{"plain": {}, "signed": {AccessKey: "key", SecretKey: "secret"}} {
		t.Run(name, func(t *testing.T) {
			got := make(chan *Command, 1)
			s := newServer(t, func(r *Command) *Command {
				got <- r
				return &Command{Ext: map[string]string{"queueId": "3", "queueOffset": "70", "msgId": strings.Join([]string{
					"7F00000100002A9F0000000000000100", "7F00000100002A9F0000000000000200", "7F00000100002A9F0000000000000300",
				}, ",")}}
			})
			c := newClient(t, Config{Credentials: credentials})
			answer := make(chan SendResult, 1)
			c.SendBatch(s.addr(), SendRequest{Group: "g", Topic: "t", Queue: 3}, []BatchPart{
				{Properties: []Property{{"a", "1"}, {"b", ""}}, Body: []byte("one")}, {Body: []byte("two")}, {Properties: []Property{{"c", "3"}}},
			}, time.Minute, func(r SendResult, err error) {
				if err != nil {
					t.Error(err)
				}
				answer <- r
			})
			r := <-got
			require.Equal(t, CodeSendBatchMessage, r.Code)
			require.Equal(t, []string{"t", "3", "true", ""}, []string{r.Ext["b"], r.Ext["e"], r.Ext["m"], r.Ext["i"]})
			require.Equal(t, []string{`one "a\x011\x02b\x01\x02"`, `two ""`, ` "c\x013\x02"`}, parts(t, r.Body))
			require.Equal(t, SendResult{Log: 0x100, Logs: []int64{0x100, 0x200, 0x300}, Queue: 3, QueueOffset: 70}, <-answer)
		})
	}
}

func TestIdsOfABatchThatCannotBeReadAreLeftOut(t *testing.T) {
	for _, ids := range []string{"", ",", "7F00000100002A9F0000000000000100,x", "7F00000100002A9F0000000000000100,"} {
		var r SendResult
		r.setLogs(ids)
		require.Equal(t, SendResult{Log: -1}, r, ids)
	}
}
