package rocketmq

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

const (
	someParent  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	otherParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
)

// user makes user properties of keys and values in turn.
func user(kv ...string) (out []store.UserProperty) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, store.UserProperty{Key: kv[i], Value: kv[i+1]})
	}
	return out
}

func TestATraceContextIsAPropertyOfTheRecordToo(t *testing.T) {
	for name, c := range map[string]struct {
		user          []store.UserProperty
		parent, state string
	}{
		"none":              {user("a", "b"), "", ""},
		"parent":            {user("a", "b", propParent, someParent), someParent, ""},
		"with a state":      {user(propState, "x=y", propParent, someParent), someParent, "x=y"},
		"a wrong one":       {user(propParent, "00-00", propState, "x=y"), "", ""},
		"twice":             {user(propParent, someParent, propParent, otherParent), "", ""},
		"two states":        {user(propParent, someParent, propState, "x=y", propState, "z=y"), someParent, ""},
		"a long state":      {user(propParent, someParent, propState, strings.Repeat("x", 513)), someParent, ""},
		"a separator":       {user(propParent, "01"+someParent[2:]+"-\x01"), "", ""},
		"a state by itself": {user(propState, "x=y"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := &store.Message{Topic: "T/a", Payload: []byte("x"), Properties: &store.Properties{User: c.user}}
			a := &store.Append{Message: m, Topic: "T", Queues: []string{"T%a%"}}
			records, err := encode("ID", a)
			require.NoError(t, err)
			require.Equal(t, c.parent, property1(records[0], propParent))
			require.Equal(t, c.state, property1(records[0], propState))
			require.Equal(t, c.user, roundTrip(t, a)[0].Properties.User, "once, and as they were")
		})
	}
}

func TestAMessageThatBarelyFitsGoesWithoutThePropertiesOfItsTrace(t *testing.T) {
	fits := func(n int, user []store.UserProperty) ([]record, error) {
		m := &store.Message{Topic: "T", Properties: &store.Properties{ContentType: strings.Repeat("x", n), User: user}}
		return encode("ID", &store.Append{Message: m, Topic: "T", Queues: []string{"T"}})
	}
	with := user(propParent, someParent)
	most := 0
	for n := 31_000; n < 32_767; n++ {
		if _, err := fits(n, with); err != nil {
			break
		}
		most = n
	}
	require.NotZero(t, most)
	records, err := fits(most, with)
	require.NoError(t, err)
	require.Empty(t, property1(records[0], propParent))
	require.NotEmpty(t, property1(records[0], propUser))
	records, err = fits(most-200, with)
	require.NoError(t, err)
	require.Equal(t, someParent, property1(records[0], propParent))
}

func TestATraceContextOfARocketMQProducerReachesMQTTClients(t *testing.T) {
	for name, c := range map[string]struct {
		properties []string
		want       []store.UserProperty
	}{
		"none":                       {nil, nil},
		"parent":                     {[]string{propParent, someParent}, user(propParent, someParent)},
		"with a state":               {[]string{propState, "x=y", propParent, someParent}, user(propParent, someParent, propState, "x=y")},
		"a state by itself":          {[]string{propState, "x=y"}, nil},
		"a wrong one, as it is":      {[]string{propParent, "nonsense"}, user(propParent, "nonsense")},
		"no text":                    {[]string{propParent, "\xff"}, nil},
		"no text in the state":       {[]string{propParent, someParent, propState, "\xff"}, user(propParent, someParent)},
		"beside others":              {[]string{propParent, someParent, propUser, `[["a","b"]]`}, user("a", "b", propParent, someParent)},
		"there already":              {[]string{propParent, someParent, propUser, `[["traceparent","` + someParent + `"],["a","b"]]`}, user(propParent, someParent, "a", "b")},
		"passed on with a new one":   {[]string{propParent, otherParent, propUser, `[["traceparent","` + someParent + `"],["tracestate","x=y"],["a","b"]]`}, user("a", "b", propParent, otherParent)},
		"passed on with a wrong one": {[]string{propParent, "nonsense", propUser, `[["traceparent","` + someParent + `"]]`}, user(propParent, someParent)},
	} {
		t.Run(name, func(t *testing.T) {
			var b []byte
			for i := 0; i < len(c.properties); i += 2 {
				b = remoting.AppendProperty(b, c.properties[i], c.properties[i+1])
			}
			r, _ := decode("b", &remoting.Message{Topic: "T", Properties: string(b)})
			require.Equal(t, c.want, r.UserProperties())
		})
	}
}
