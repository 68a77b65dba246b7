package topic

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueueNamesAreThoseOfUpstream(t *testing.T) {
	for name, want := range map[string]string{
		"T":        "T",
		"T/":       "T%",
		"T/r1":     "T%r1%",
		"T/r1/":    "T%r1%",
		"T//":      "T%%",
		"/T/a":     "%T%a%",
		"T/+":      "T%+%",
		"T/#":      "T%#%",
		"#":        "#",
		"+/a":      "+%a%",
		"/+/a":     "%+%a%",
		"T/ü ~":    "T%ü ~%",
		"p2p/x":    "p2p%x%",
		"T/p2p/x":  "T%p2p%x%",
		"retry":    "retry",
		"/p2pq/x":  "%p2pq%x%",
		"$SYS/x/y": "$SYS%x%y%",
	} {
		require.Equal(t, want, Queue(name), "%q", name)
	}
	require.Equal(t, "%p2p%client%", P2PQueue("client"))
	require.Equal(t, "%retry%client%", RetryQueue("client"))
	require.Equal(t, "%p2p%a%b%", P2PQueue("a/b"))
}

func TestQueueNamesThatUpstreamConfusesAreEscaped(t *testing.T) {
	for name, want := range map[string]string{
		"T/a%b":    "T%a~25b%%e",
		"T/a,b":    "T%a~2Cb%%e",
		"T/\x01~":  "T%~01~7E%%e",
		"a,b":      "a~2Cb%e",
		"/p2p/x":   "%p2p%x%%e",
		"/p2p/x/":  "%p2p%x%%e",
		"/p2p":     "%p2p%%e",
		"/retry/x": "%retry%x%%e",
		"/p2p/#":   "%p2p%#%%e",
	} {
		require.Equal(t, want, Queue(name), "%q", name)
	}
	require.Equal(t, "%p2p%a~2Cb%%o", P2PQueue("a,b"))
	require.Equal(t, "%retry%a~25b%%o", RetryQueue("a%b"))
}

func TestLongQueueNamesAreHashedAndKeepTheFirstLevelReadable(t *testing.T) {
	fits := "T/" + strings.Repeat("x", maxQueue-3)
	require.Len(t, Queue(fits), maxQueue)
	require.True(t, strings.HasSuffix(Queue(fits), "x%"))
	long := Queue(fits + "x")
	require.LessOrEqual(t, len(long), maxQueue)
	require.Regexp(t, "^T%[0-9a-f]{64}%h$", long)
	require.Regexp(t, "^a~2Cb%[0-9a-f]{64}%h$", Queue("a,b/"+strings.Repeat("x", 300)))
	require.Regexp(t, "^%[0-9a-f]{64}%h$", Queue(strings.Repeat("x", 300)))
	require.Regexp(t, "^p2p%[0-9a-f]{64}%h$", P2PQueue(strings.Repeat("x", 300)))
	require.Equal(t, Queue("T/"+strings.Repeat("y", 300)), Queue("T/"+strings.Repeat("y", 300)+"/"))
}

// normalise returns the form that two names with one queue share.
func normalise(s string) string {
	if strings.Contains(s, "/") && !strings.HasSuffix(s, "/") {
		return s + "/"
	}
	return s
}

// requireQueueName checks that a queue name is valid for a broker and in a comma-separated list.
func requireQueueName(t *testing.T, queue string) {
	bad := len(queue) > maxQueue
	for _, c := range []byte(queue) {
		bad = bad || c < 0x20 || c == 0x7f || c == '/' || c == ','
	}
	if bad {
		t.Helper() // not before, because it takes longer than the check
		t.Fatalf("no queue name: %q", queue)
	}
}

func TestNoTwoNamesShareAQueue(t *testing.T) {
	// Random combinations of pieces that are easily confused.
	pieces := []string{
		"", "a", "b", "/", "//", "%", "%%", ",", "~", "~25", "~2C", "25", "%e", "%o", "%h", "%b", "e", "p2p", "retry", "/p2p/", "/retry/",
		"p2pbucket%07%b", "\x01", "\x7f", "+", "#", "$", "T", strings.Repeat("x", 200), strings.Repeat("%", 130),
	}
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		var b strings.Builder
		for range 1 + r.IntN(5) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		return b.String()
	}
	owner := map[string]string{}
	claim := func(queue, who string) {
		requireQueueName(t, queue)
		if before, ok := owner[queue]; ok && before != who {
			t.Fatalf("queue %q belongs to %q and %q", queue, before, who)
		}
		owner[queue] = who
	}
	for range 50_000 {
		name := word()
		claim(Queue(name), "topic "+normalise(name))
		id := word()
		claim(P2PQueue(id), "p2p "+id)
		claim(RetryQueue(id), "retry "+id)
		claim(P2PBucket(id), P2PBucket(id))
	}
	require.Greater(t, len(owner), 50_000)
}

func FuzzQueueNamesAreInjective(f *testing.F) {
	f.Add("T/a", "T%a%", "c")
	f.Add("/p2p/x", "T/a,b", "x")
	f.Add("a,b", "a~2Cb%e", "a,b")
	f.Fuzz(func(t *testing.T, one, two, id string) {
		a, b := Queue(one), Queue(two)
		requireQueueName(t, a)
		requireQueueName(t, b)
		require.Equal(t, normalise(one) == normalise(two), a == b, "%q and %q", one, two)
		for _, own := range []string{P2PQueue(id), RetryQueue(id), P2PBucket(id)} {
			requireQueueName(t, own)
			require.NotEqual(t, a, own)
		}
		require.NotEqual(t, P2PQueue(id), RetryQueue(id))
		require.Equal(t, one == id, P2PQueue(one) == P2PQueue(id))
	})
}

func TestPointToPointNamesAddressTheirClient(t *testing.T) {
	for name, want := range map[string]string{
		"T/p2p/c":     "c",
		"/T/p2p/c":    "c",
		"T/p2p/c/":    "c",
		"T/p2p/a/b":   "a/b",
		"T/p2p/a/b/":  "a/b",
		"T/p2p/c//":   "c/",
		"T/p2p//c":    "/c",
		"T/p2p///":    "/",
		"p2p/p2p/p2p": "p2p",
		"//p2p/c":     "c", // the first-level topic is empty
	} {
		got, ok := P2PTarget(name)
		require.True(t, ok, "%q", name)
		require.Equal(t, want, got, "%q", name)
	}
	for _, name := range []string{"T", "T/p2p", "T/p2p/", "T/p2p//", "/p2p/c", "p2p/c", "T/x/p2p/c", "T/p2pc/x", "", "/", "T//p2p/c"} {
		_, ok := P2PTarget(name)
		require.False(t, ok, "%q", name)
	}
}

func TestBucketsSpreadClientsAndStayAsTheyAre(t *testing.T) {
	require.Equal(t, "p2pbucket%05%b", P2PBucket(""))
	seen := map[string]int{}
	for i := range 6400 {
		seen[P2PBucket(fmt.Sprintf("client-%d", i))]++
	}
	require.Len(t, seen, P2PBuckets)
	for bucket, n := range seen {
		require.Less(t, n, 300, "%q", bucket)
	}
}

func BenchmarkQueue(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Queue("sensors/building-7/floor-3/temperature")
	}
}

func TestARootQueueNamesItsFilterAndItsTopic(t *testing.T) {
	seen := map[string]string{}
	for _, filter := range []string{"#", "+", "+/x", "+/x/y", "+/#", "/+", "/#", "+/a%b"} {
		q := Queue(filter)
		require.True(t, IsRootQueue(q), filter)
		for _, first := range []string{"x", "y", "a%b", "x/", "T"} {
			name := RootQueue(first, q)
			require.NotContains(t, seen, name)
			seen[name] = filter + " " + first
			require.NotEqual(t, name, Queue(filter+"/"+first))
		}
	}
	for _, filter := range []string{"T", "T/+", "T/#", "/T/#", "//+", "/p2p/x"} {
		require.False(t, IsRootQueue(Queue(filter)), filter)
	}
	require.False(t, IsRootQueue(P2PQueue("+")))
}
