package rocketmq

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

func TestAMarkIsReadAsItWasWritten(t *testing.T) {
	for _, host := range []string{"10.0.0.1:10911", "[2001:db8::1]:10911"} {
		m := marking{mark{"lmqgate_control", 3, 114, 1 << 40, 1796040563333, netip.MustParseAddrPort(host)}, "ABCDEFGH", 2}
		got, err := parse(m.text())
		require.NoError(t, err)
		require.Equal(t, m, got)
	}
	for _, text := range []store.Mark{"x", "t 1 2 3 4 nowhere p 0", "t 1 2 3 4 10.0.0.1:1"} {
		_, err := parse(text)
		require.Error(t, err, text)
	}
}

func TestAMarkCoversWhatWasStoredBeforeIt(t *testing.T) {
	master, slave := netip.MustParseAddrPort("10.0.0.1:10911"), netip.MustParseAddrPort("10.0.0.2:10911")
	m := mark{Log: 1000, Time: 500_000, Host: master}
	for _, c := range []struct {
		what string
		msg  remoting.Message
		want bool
	}{
		{"itself", remoting.Message{LogOffset: 1000, StoreTime: 500_000, StoreHost: master}, true},
		{"an earlier one", remoting.Message{LogOffset: 900, StoreTime: 499_999, StoreHost: master}, true},
		{"one of the new master", remoting.Message{LogOffset: 900, StoreTime: 510_000, StoreHost: slave}, false},
		{"one of a new master whose clock is late", remoting.Message{LogOffset: 900, StoreTime: 499_000, StoreHost: slave}, false},
		{"one that the same host stored after it lost its disk", remoting.Message{LogOffset: 900, StoreTime: 510_000, StoreHost: master}, false},
		{"one of an earlier master", remoting.Message{LogOffset: 100, StoreTime: 100_000, StoreHost: slave}, true},
		{"a later one", remoting.Message{LogOffset: 1100, StoreTime: 500_000, StoreHost: master}, false},
	} {
		require.Equal(t, c.want, m.covers(&c.msg), c.what)
	}
}

func TestALogCountsAnswersOverConnectionsThatWereComparedOnly(t *testing.T) {
	l := &lineage{}
	answer := func(conn uint64, logs ...int64) *remoting.PullResult {
		res := &remoting.PullResult{Connection: conn}
		for _, at := range logs {
			res.Messages = append(res.Messages, remoting.Message{LogOffset: at, StoreTime: 1})
		}
		return res
	}
	_, ok := l.take(answer(1))
	require.True(t, ok, "nothing was read before")
	_, ok = l.take(answer(2, 0))
	require.True(t, ok, "nothing was read before")
	require.NotEqual(t, mark{}, l.newest, "the first record of a log is one")
	_, ok = l.take(answer(2, 10, 20))
	require.True(t, ok)
	require.EqualValues(t, 20, l.newest.Log)
	_, ok = l.take(answer(2, 5))
	require.True(t, ok)
	require.EqualValues(t, 20, l.newest.Log, "another queue may be behind")
	_, ok = l.take(answer(3, 30))
	require.False(t, ok)
	require.EqualValues(t, 20, l.newest.Log)
}
