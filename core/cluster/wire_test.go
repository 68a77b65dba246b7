package cluster

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALetterOfManyEmptyElementsTakesLittleMemory(t *testing.T) {
	fill := func(size int, format, element string) string {
		return fmt.Sprintf(format, strings.Repeat(element+",", (size-len(format))/(len(element)+1))+element)
	}
	const most = 4 << 20 // what a broker takes
	for name, text := range map[string]string{
		"messages":          fill(letterMost/2, `{"f":"b","n":"i","m":[%s]}`, "{}"),
		"no messages":       fill(letterMost/2, `{"f":"b","n":"i","m":[%s]}`, "null"),
		"numbers":           fill(letterMost/2, `{"f":"b","n":"i","m":[%s]}`, "1"),
		"claims":            fill(letterMost/2, `{"f":"b","n":"i","m":[{"k":"held","e":[%s]}]}`, "{}"),
		"all that it takes": fill(most, `{"f":"b","n":"i","m":[%s]}`, "{}"),
		"a long client id":  fill(most, `{"f":"b","n":"i","m":[{"c":"%s"}]}`, "x"),
		"claims, many more": `{"f":"b","n":"i","m":[` + strings.Repeat(`{"e":[{}`+strings.Repeat(",{}", reportEntries)+`]},`, 500) + `{}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(text)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := decodeLetter(body)
			runtime.ReadMemStats(&after)
			require.ErrorContains(t, err, "over ")
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
		})
	}
}

func TestLettersUpToTheirBoundsAreRead(t *testing.T) {
	l := &letter{From: "a", Instance: "i"}
	for i := range letterMessages {
		l.Messages = append(l.Messages, message{Kind: kindClaim, Client: fmt.Sprint(`",[]{}\`, i), Entries: entries{{Client: `a,"b`}, {Client: "c"}}})
	}
	for i := range reportEntries - 2 {
		l.Messages[7].Entries = append(l.Messages[7].Entries, entry{Client: fmt.Sprint(`\",`, i)})
	}
	got, err := decodeLetter(mustEncode(t, l))
	require.NoError(t, err)
	require.Equal(t, l, got)
	l.Messages = append(l.Messages, message{})
	_, err = decodeLetter(mustEncode(t, l))
	require.ErrorContains(t, err, "513 messages")

	long := strings.Repeat("\x00", 65535) // the longest client id that there is, in the longest form
	got, err = decodeLetter(mustEncode(t, &letter{From: "a", Instance: "i", Messages: messages{{Client: long, Owner: long}}}))
	require.NoError(t, err)
	require.Equal(t, long, got.Messages[0].Client)

	for _, text := range []string{`{"f":"a","n":"i"}`, `{"f":"a","n":"i","m":null}`, `{"f":"a","n":"i","m":[]}`, `{"f":"a","n":"i","m":[{"e":null}]}`} {
		_, err = decodeLetter([]byte(text))
		require.NoError(t, err, text)
	}
}

func FuzzLettersOfOthers(f *testing.F) {
	f.Add([]byte(`{"f":"a","n":"i","m":[{"k":"claim","c":"x"},{"k":"held","e":[{"c":"y"}],"l":true}]}`))
	f.Add([]byte(`{"f":"a","n":"i","m":[{"c":"\\\",[{"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := decodeLetter(body)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(l.Messages), letterMessages)
		for i := range l.Messages {
			require.LessOrEqual(t, len(l.Messages[i].Entries), reportEntries)
		}
	})
}
