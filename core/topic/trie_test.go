package topic

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func matches[V comparable](t *Trie[V], name string) []V {
	var got []V
	t.Match(name, func(v V) { got = append(got, v) })
	return got
}

func TestTrieMatchesAsSingleFiltersDo(t *testing.T) {
	trie := NewTrie[string]()
	for _, c := range matchCases {
		trie.Add(c.filter, c.filter)
	}
	for _, c := range matchCases {
		require.Equal(t, c.want, slices.Contains(matches(trie, c.name), c.filter), "filter %q, name %q", c.filter, c.name)
	}
}

func TestTrieAgreesWithMatchUnderRandomChanges(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	levels := []string{"a", "b", "", "$s", "+"}
	word := func(wild bool) string {
		n := 1 + r.IntN(4)
		parts := make([]string, n)
		for i := range parts {
			parts[i] = levels[r.IntN(len(levels))]
			if !wild && parts[i] == "+" {
				parts[i] = "c"
			}
		}
		if wild && r.IntN(3) == 0 {
			parts[n-1] = "#"
		}
		if s := strings.Join(parts, "/"); s != "" {
			return s
		}
		return "/"
	}
	type pair struct {
		filter string
		v      int
	}
	trie, model := NewTrie[int](), map[pair]bool{}
	for range 20_000 {
		p := pair{word(true), r.IntN(40)}
		if r.IntN(3) > 0 {
			if trie.Add(p.filter, p.v) == model[p] {
				t.Fatalf("add %v: present %v", p, model[p])
			}
			model[p] = true
		} else {
			if trie.Remove(p.filter, p.v) != model[p] {
				t.Fatalf("remove %v: present %v", p, model[p])
			}
			delete(model, p)
		}
		if r.IntN(50) > 0 {
			continue
		}
		name := word(false)
		var want []int
		for p := range model {
			if matchSlow(p.filter, name) {
				want = append(want, p.v)
			}
		}
		got := matches(trie, name)
		slices.Sort(want)
		slices.Sort(got)
		require.Equal(t, want, got, "name %q", name)
		require.Equal(t, len(model), trie.Len())
	}
	for p := range model {
		require.True(t, trie.Remove(p.filter, p.v))
	}
	require.Zero(t, trie.Len())
	require.True(t, trie.root.empty(), "nothing is left behind")
}

func TestTrieIsSafeForConcurrentUse(t *testing.T) {
	trie := NewTrie[int]()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				filter := fmt.Sprintf("a/%d/+", i%50)
				trie.Add(filter, w)
				trie.Match(fmt.Sprintf("a/%d/x", i%50), func(int) {})
				trie.Remove(filter, w)
			}
		})
	}
	wg.Wait()
	require.Zero(t, trie.Len())
}

// largeTrie returns a trie of 100,000 filters as a fleet of devices would register them, and a few broad ones.
func largeTrie() (trie *Trie[int], name string) {
	trie = NewTrie[int]()
	for i := range 99_990 {
		trie.Add(fmt.Sprintf("cmd/device-%05d/#", i), i)
	}
	for i, filter := range []string{"#", "+/#", "cmd/#", "cmd/+/set", "cmd/+/+", "+/+/set", "cmd/device-04711/set", "cmd/device-04711/+", "x/#", "$SYS/#"} {
		trie.Add(filter, 100_000+i)
	}
	return trie, "cmd/device-04711/set"
}

func TestMatchAllocatesNothing(t *testing.T) {
	trie, name := largeTrie()
	require.Equal(t, 100_000, trie.Len())
	found := 0
	fn := func(int) { found++ }
	require.Zero(t, testing.AllocsPerRun(100, func() { trie.Match(name, fn) }))
	found = 0
	trie.Match(name, fn)
	require.Equal(t, 9, found)
	require.Zero(t, testing.AllocsPerRun(100, func() { Match("cmd/+/set", name) }))
}

func BenchmarkTrieMatch100000Filters(b *testing.B) {
	trie, name := largeTrie()
	found := 0
	fn := func(int) { found++ }
	b.ReportAllocs()
	for b.Loop() {
		trie.Match(name, fn)
	}
}

func BenchmarkTrieAddRemove(b *testing.B) {
	trie, _ := largeTrie()
	b.ReportAllocs()
	for b.Loop() {
		trie.Add("cmd/device-new/+/x", 1)
		trie.Remove("cmd/device-new/+/x", 1)
	}
}
