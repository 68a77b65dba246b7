package transfer

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

var both = Options{Namespaces: []string{"b", "LMQ"}}

func backend(t *testing.T, entries ...string) *metatest.Backend {
	b := metatest.New(metatest.Plain())
	t.Cleanup(b.Close)
	for i := 0; i < len(entries); i += 3 {
		b.Edit(entries[i], entries[i+1], entries[i+2])
	}
	return b
}

func content(t *testing.T, b *metatest.Backend) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, ns := range both.Namespaces {
		for _, key := range b.Keys(ns) {
			out[ns+"/"+key] = b.Value(ns, key)
		}
	}
	return out
}

func TestACopyMakesTheTargetEqualAndACopyOfItChangesNothing(t *testing.T) {
	from, to := backend(t), backend(t, "b", "k0001", "old", "b", "zz", "extra", "LMQ", "A", "extra", "other", "k", "not ours")
	for i := range 250 {
		from.Edit("b", fmt.Sprintf("k%04d", i), fmt.Sprintf("v%d", i))
	}
	from.Edit("LMQ", "ü \"\n", "1,2 ,,3")
	_, changes, err := Copy(t.Context(), from.Client(), to.Client(), both)
	require.NoError(t, err)
	require.Equal(t, Changes{Written: 251, Removed: 2}, changes)
	require.Equal(t, content(t, from), content(t, to))
	require.Equal(t, "not ours", to.Value("other", "k"))

	sums, changes, err := Copy(t.Context(), from.Client(), to.Client(), both)
	require.NoError(t, err)
	require.Equal(t, Changes{}, changes)
	require.True(t, sums.A.Equal(&sums.B))
	require.EqualValues(t, 251, sums.A.Entries)

	to.Edit("b", "k0100", "changed")
	var found []string
	sums, err = Compare(t.Context(), from.Client(), to.Client(), both, func(d Difference) error {
		found = append(found, d.String())
		return nil
	})
	require.NoError(t, err)
	require.False(t, sums.A.Equal(&sums.B))
	require.Equal(t, []string{`b "k0100" has another value`}, found)
}

func TestTheDigestIsOfNamespacesKeysAndValuesAndNotOfWhereTheyEnd(t *testing.T) {
	sum := func(entries ...Entry) string {
		var s Sum
		for i := range entries {
			s.add(&entries[i])
		}
		return s.Digest()
	}
	seen := map[string]bool{}
	for _, d := range []string{
		sum(), sum(Entry{"a", "b", []byte("c")}), sum(Entry{"ab", "", []byte("c")}), sum(Entry{"a", "bc", nil}),
		sum(Entry{"a", "b", nil}, Entry{"a", "c", nil}), sum(Entry{"a", "c", nil}, Entry{"a", "b", nil}),
	} {
		require.False(t, seen[d])
		seen[d] = true
	}
}

func TestWhatDoesNotLastIsCopiedWithItsTimeAndNotCompared(t *testing.T) {
	from := backend(t, "b", "for ever", "x", "b", "an hour", "h", "b", "a minute", "m", "b", "over", "o")
	to := metatest.New(metatest.Full())
	t.Cleanup(to.Close)
	spy := &ttls{MetaClient: to.Client(), seen: map[string]int64{}}
	o := both
	o.Lifetime = func(_ string, v []byte) (time.Duration, bool) {
		d := map[string]time.Duration{"h": time.Hour, "m": time.Minute}[string(v)]
		return d, string(v) != "o"
	}
	_, changes, err := Copy(t.Context(), from.Client(), spy, o)
	require.NoError(t, err)
	require.EqualValues(t, 3, changes.Written)
	require.Equal(t, map[string]int64{"for ever": 0, "an hour": time.Hour.Milliseconds(), "a minute": time.Minute.Milliseconds()}, spy.seen)
	to.Edit("b", "a minute", "")
	sums, err := Compare(t.Context(), from.Client(), to.Client(), o, nil)
	require.NoError(t, err)
	require.EqualValues(t, 2, sums.A.Entries)
	require.True(t, sums.A.Equal(&sums.B))
}

// ttls records the time to live of each key that is written.
type ttls struct {
	pluginv1.MetaClient
	seen map[string]int64
}

func (c *ttls) Batch(ctx context.Context, r *pluginv1.BatchRequest, o ...grpcOption) (*pluginv1.BatchResponse, error) {
	for _, op := range r.GetOperations() {
		c.seen[op.GetPut().GetKey()] = op.GetPut().GetTtlMs()
	}
	return c.MetaClient.Batch(ctx, r, o...)
}

func export(t *testing.T, b *metatest.Backend) string {
	t.Helper()
	var out bytes.Buffer
	_, err := Export(t.Context(), &out, b.Client(), "meta-test", time.Unix(1_800_000_000, 0), both)
	require.NoError(t, err)
	return out.String()
}

func TestAnExportedFileIsLinesOfJSONWithADigest(t *testing.T) {
	b := backend(t, "LMQ", "ALL_FIRST_TOPICS", "a,b", "b", "k <&>", "v")
	require.Equal(t, `{"lmqgate_meta_export":1,"plugin":"meta-test","created":"2027-01-15T08:00:00Z"}
{"n":"LMQ","k":"ALL_FIRST_TOPICS","v":"YSxi"}
{"n":"b","k":"k <&>","v":"dg=="}
{"end":true,"entries":2,"bytes":25,"sha256":"`+exampleDigest+`"}
`, export(t, b))
}

func TestAnImportIsWholeAndCanBeRepeated(t *testing.T) {
	from := backend(t, "LMQ", "ALL_FIRST_TOPICS", "a,b")
	for i := range 120 {
		from.Edit("b", fmt.Sprintf("k%03d", i), strings.Repeat("x", i))
	}
	file := export(t, from)
	sum, namespaces, err := Verify(strings.NewReader(file))
	require.NoError(t, err)
	require.EqualValues(t, 120, sum.Entries, "an empty value removes a key in these tests")
	require.Equal(t, []string{"LMQ", "b"}, namespaces)

	to := backend(t, "b", "k007", "mine", "b", "only here", "y")
	done, err := Import(t.Context(), strings.NewReader(file), to.Client(), both, false)
	require.NoError(t, err)
	require.EqualValues(t, 119, done.Written)
	require.Equal(t, "mine", to.Value("b", "k007"))
	done, err = Import(t.Context(), strings.NewReader(file), to.Client(), both, true)
	require.NoError(t, err)
	require.EqualValues(t, 1, done.Written)
	require.Equal(t, strings.Repeat("x", 7), to.Value("b", "k007"))
	require.Equal(t, "y", to.Value("b", "only here"))
	done, err = Import(t.Context(), strings.NewReader(file), to.Client(), both, true)
	require.NoError(t, err)
	require.Zero(t, done.Written)
}

func TestAFileThatWasCutOrChangedIsRefused(t *testing.T) {
	file := export(t, backend(t, "b", "k1", "v1", "b", "k2", "v2", "b", "k3", "v3"))
	for i := range len(file) {
		_, _, err := Verify(strings.NewReader(file[:i]))
		require.Error(t, err, "cut after %d bytes", i)
	}
	lines := strings.SplitAfter(file, "\n")
	without := func(i int) string { return strings.Join(append(append([]string{}, lines[:i]...), lines[i+1:]...), "") }
	for name, c := range map[string]struct{ text, want string }{
		"without a line":        {without(2), "lines are missing"},
		"without the last line": {without(4), "truncated"},
		"another value":         {strings.Replace(file, `"v":"djI="`, `"v":"djM="`, 1), "digest"},
		"another order":         {lines[0] + lines[2] + lines[1] + lines[3] + lines[4], "does not come after"},
		"a line twice":          {lines[0] + lines[1] + lines[1] + lines[3] + lines[4], "does not come after"},
		"something behind":      {file + "x\n", "something follows"},
		"two files":             {file + file, "something follows"},
		"a newer version":       {strings.Replace(file, `export":1`, `export":2`, 1), "newer lmqgate"},
		"an unknown field":      {strings.Replace(file, `"n":"b"`, `"ttl":1,"n":"b"`, 1), "ttl"},
		"no namespace":          {strings.Replace(file, `"n":"b",`, ``, 1), "no namespace"},
		"another format":        {"a,b\n", "no file of lmqgate meta export"},
		"nothing":               {"", "empty"},
	} {
		_, _, err := Verify(strings.NewReader(c.text))
		require.ErrorContains(t, err, c.want, name)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestAPluginThatListsOutOfOrderIsNamed(t *testing.T) {
	_, err := Compare(t.Context(), &unordered{}, backend(t).Client(), both, nil)
	require.ErrorContains(t, err, `list LMQ: the plugin gives key "a" after "b"`)
}

func FuzzFilesOfOthersAreRefusedOrWhole(f *testing.F) {
	f.Add(
		[]byte(
			"{\"lmqgate_meta_export\":1}\n{\"n\":\"b\",\"k\":\"k\",\"v\":\"dg==\"}\n{\"end\":true,\"entries\":1,\"bytes\":2,\"sha256\":\"\"}\n",
		),
	)
	f.Add(
		[]byte(
			"{\"lmqgate_meta_export\":1}\n{\"end\":true,\"entries\":0,\"bytes\":0,\"sha256\":\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}\n",
		),
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		sum, _, err := Verify(bytes.NewReader(data))
		if err == nil && !bytes.Contains(data, []byte(sum.Digest())) {
			t.Fatal("a file was taken whose digest it does not hold")
		}
	})
}
