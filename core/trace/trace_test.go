package trace

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyWhatIsWatchedIsTraced(t *testing.T) {
	publish := Entry{What: In, ClientID: "c", Address: "192.0.2.7:1234", Packet: "PUBLISH", Topics: []string{"home/lamp"}}
	subscribe := Entry{What: In, ClientID: "c", Address: "[2001:db8::1]:1", Packet: "SUBSCRIBE", Topics: []string{"a", "home/+"}}
	cases := map[string]struct {
		m    Match
		want []string // types of packets
	}{
		"client":                     {Match{ClientID: "c"}, []string{"PUBLISH", "SUBSCRIBE"}},
		"another client":             {Match{ClientID: "C"}, nil},
		"a filter":                   {Match{Topic: "home/#"}, []string{"PUBLISH", "SUBSCRIBE"}},
		"the very filter":            {Match{Topic: "home/+"}, []string{"PUBLISH", "SUBSCRIBE"}},
		"a topic":                    {Match{Topic: "home/lamp"}, []string{"PUBLISH"}},
		"another topic":              {Match{Topic: "home/lamp/x"}, nil},
		"an address":                 {Match{Address: "192.0.2.7"}, []string{"PUBLISH"}},
		"a network":                  {Match{Address: "192.0.2.0/24"}, []string{"PUBLISH"}},
		"a network of IPv6":          {Match{Address: "2001:db8::/32"}, []string{"SUBSCRIBE"}},
		"an address in another form": {Match{Address: "::ffff:192.0.2.7"}, []string{"PUBLISH"}},
		"client and topic":           {Match{ClientID: "c", Topic: "a"}, []string{"SUBSCRIBE"}},
		"client and wrong address":   {Match{ClientID: "c", Address: "192.0.2.8"}, nil},
	}
	for name, tc := range cases {
		tr := New("n")
		require.False(t, tr.On())
		w, err := tr.Watch(tc.m, false)
		require.NoError(t, err, name)
		require.True(t, tr.On())
		tr.Add(publish)
		tr.Add(subscribe)
		var got []string
		for _, e := range w.Take() {
			require.Equal(t, "n", e.Node)
			got = append(got, e.Packet)
		}
		require.Equal(t, tc.want, got, name)
		w.Close()
		w.Close()
		require.False(t, tr.On())
		tr.Add(publish)
		require.Empty(t, w.Take(), name)
	}
}

func TestEachWhoWatchesSeesTheSame(t *testing.T) {
	tr := New("n")
	var all []*Watch
	for range 2 {
		w, err := tr.Watch(Match{Topic: "a"}, false)
		require.NoError(t, err)
		all = append(all, w)
	}
	tr.Add(Entry{What: In, Topics: []string{"a"}})
	one := all[0].Take()
	require.Len(t, one, 1)
	require.Equal(t, one, all[1].Take())
}

func TestWhatNobodyCanMeanIsRefused(t *testing.T) {
	for want, m := range map[string]Match{
		"name a client id":                {},
		`topic "a/#/b"`:                   {Topic: "a/#/b"},
		`"nowhere" is no address such as`: {Address: "nowhere"},
	} {
		_, err := New("n").Watch(m, false)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, want)
	}
}

func TestWatchesAndWhatTheyHoldAreBounded(t *testing.T) {
	tr := New("n")
	var all []*Watch
	for range MaxWatches {
		w, err := tr.Watch(Match{ClientID: "c"}, false)
		require.NoError(t, err)
		all = append(all, w)
	}
	_, err := tr.Watch(Match{ClientID: "c"}, false)
	require.ErrorIs(t, err, ErrTooMany)
	for range Held + 5 {
		tr.Add(Entry{What: In, ClientID: "c", Topics: []string{strings.Repeat("ä", 5000)}})
	}
	got := all[0].Take()
	require.Len(t, got, Held+1)
	require.Less(t, len(got[0].Topic), maxText+4)
	require.Equal(t, 5, got[Held].LeftOut)
	require.Equal(t, LeftOut, got[Held].What)
	<-all[0].More()
	require.Empty(t, all[0].Take())
	all[3].Close()
	_, err = tr.Watch(Match{ClientID: "c"}, false)
	require.NoError(t, err, "a place is free again")
}

func TestATracerThatNobodyWatchesAllocatesNothing(t *testing.T) {
	tr := New("n")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if tr.On() {
			tr.Add(Entry{})
		}
	}))
	var none *Tracer
	require.False(t, none.On())
}

func TestViewersLeaveTracesToAdministrators(t *testing.T) {
	tr := New("n")
	for range maxOfViewers {
		_, err := tr.Watch(Match{ClientID: "c"}, true)
		require.NoError(t, err)
	}
	_, err := tr.Watch(Match{ClientID: "c"}, true)
	require.ErrorIs(t, err, ErrTooMany)
	for range MaxWatches - maxOfViewers {
		_, err := tr.Watch(Match{ClientID: "c"}, false)
		require.NoError(t, err)
	}
	_, err = tr.Watch(Match{ClientID: "c"}, false)
	require.ErrorIs(t, err, ErrTooMany)
}
