package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// place is a store and metadata with topics only. It counts its calls.
type place struct {
	mu         sync.Mutex
	topics     map[string]bool
	registered []string
	upstream   []string
	asked      int
	made       int
	err        error // of every call of the store
	single     bool
	most       int // the topics that clients may make; 0: no limit
	claimed    int
}

// client is a client that makes topics.
var client = topic.Maker{Client: "c", Identity: "u"}

func newPlace(topics ...string) *place {
	p := &place{topics: make(map[string]bool), registered: topics}
	for _, name := range topics {
		p.topics[name] = true
	}
	return p
}

func (p *place) ValidTopic(name string) error {
	if strings.Contains(name, ".") || strings.HasPrefix(name, store.OwnPrefix) {
		return fmt.Errorf("%w: %q", store.ErrInvalidTopic, name)
	}
	return nil
}

func (p *place) Topic(_ context.Context, name string) (store.TopicInfo, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	switch {
	case p.err != nil:
		return store.TopicInfo{}, p.err
	case !p.topics[name]:
		return store.TopicInfo{}, fmt.Errorf("%w: %q", store.ErrUnknownTopic, name)
	}
	return store.TopicInfo{Name: name}, nil
}

func (p *place) CreateTopic(_ context.Context, name string, _ int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.made++
	if p.err == nil {
		p.topics[name] = true
	}
	return p.err
}

func (p *place) DeleteTopic(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.topics, name)
	return p.err
}

func (p *place) Limits() store.Limits { return store.Limits{SingleFeeder: p.single} }

func (p *place) Topics() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.registered)
}

func (p *place) HasTopic(name string) bool { return slices.Contains(p.Topics(), name) }

func (p *place) ClaimTopic(name string, by topic.Maker) (func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !by.Operator && !slices.Contains(p.registered, name) && p.most > 0 && len(p.registered)+p.claimed >= p.most {
		return nil, errFull
	}
	p.claimed++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.claimed--
	}, nil
}

var errFull = errors.New("full")

func (p *place) MakeTopic(_ context.Context, name string, _ topic.Maker) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.registered, name) {
		p.registered = append(p.registered, name)
	}
	return nil
}

func (p *place) RemoveTopic(_ context.Context, name string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.registered = slices.DeleteFunc(p.registered, func(n string) bool { return n == name })
	return nil
}

func (p *place) UpstreamNodes() []string { return p.upstream }

func (p *place) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *place) counts() (asked, made int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked, p.made
}

func newCatalog(p *place, o Options) *Catalog {
	o.Store, o.Meta = p, p
	return New(o)
}

func TestAFirstLevelHasItsTopicOrAReasonWhyNot(t *testing.T) {
	cases := []struct {
		name     string
		first    string
		options  Options
		ensured  string
		resolved string
		err      error
	}{
		{name: "a registered topic", first: "sensors", ensured: "sensors", resolved: "sensors"},
		{name: "an unknown topic", first: "other", err: store.ErrUnknownTopic},
		{
			name:     "an unknown topic, created on first use",
			first:    "other",
			options:  Options{AutoCreate: true},
			ensured:  "other",
			resolved: "other",
		},
		{name: "a name that the store cannot hold", first: "a.b", err: store.ErrInvalidTopic},
		{name: "such a name, created on first use", first: "a.b", options: Options{AutoCreate: true}, err: store.ErrInvalidTopic},
		{
			name:     "such a name, with a fallback that exists",
			first:    "a.b",
			options:  Options{Fallback: "sensors"},
			ensured:  "sensors",
			resolved: "sensors",
		},
		{
			name:     "such a name, with a fallback that does not exist yet",
			first:    "a.b",
			options:  Options{Fallback: "rest"},
			ensured:  "rest",
			resolved: "rest",
		},
		{name: "a fallback is not for unknown names", first: "other", options: Options{Fallback: "sensors"}, err: store.ErrUnknownTopic},
		{name: "one of the gateway's own topics", first: P2PTopic, options: Options{AutoCreate: true}, err: store.ErrInvalidTopic},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			c := newCatalog(newPlace("sensors"), tc.options)
			for range 3 { // from the store, then from memory
				got, err := c.Ensure(t.Context(), tc.first, client)
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.ensured, got)
				got, err = c.Resolve(tc.first)
				require.ErrorIs(t, err, tc.err)
				require.Equal(t, tc.resolved, got)
			}
		})
	}
}

func TestWhatIsNotKnownYetIsResolvedFromTheMetadata(t *testing.T) {
	p := newPlace("sensors")
	c := newCatalog(p, Options{Fallback: "rest"})
	for first, want := range map[string]string{"sensors": "sensors", "a.b": "rest"} {
		got, err := c.Resolve(first)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := c.Resolve("other")
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	asked, made := p.counts()
	require.Zero(t, asked+made, "the store is not asked")
}

func TestTheStoreIsAskedAboutATopicNowAndThen(t *testing.T) {
	cases := []struct {
		first string
		every time.Duration
	}{
		{"sensors", knownFor},
		{"other", refusedFor},
	}
	for _, tc := range cases {
		t.Run(tc.first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPlace("sensors")
				c := newCatalog(p, Options{})
				for n := range 3 {
					for range 5 {
						_, _ = c.Ensure(t.Context(), tc.first, client)
					}
					asked, _ := p.counts()
					require.Equal(t, n+1, asked)
					time.Sleep(tc.every)
				}
			})
		})
	}
}

func TestAKnownTopicStaysKnownWhileTheStoreIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace("sensors")
		c := newCatalog(p, Options{})
		_, err := c.Ensure(t.Context(), "sensors", client)
		require.NoError(t, err)
		time.Sleep(knownFor)
		p.fail(fmt.Errorf("%w: no broker is registered", store.ErrUnavailable))
		physical, err := c.Ensure(t.Context(), "sensors", client)
		require.NoError(t, err, "the append waits for the store, and must get the chance to")
		require.Equal(t, "sensors", physical)
		_, err = c.Ensure(t.Context(), "other", client)
		require.ErrorIs(t, err, store.ErrUnavailable)
		p.fail(store.ErrUnknownTopic)
		_, err = c.Ensure(t.Context(), "sensors", client)
		require.ErrorIs(t, err, store.ErrUnknownTopic, "a topic that is gone is not taken for known")
		p.fail(nil)
		_, err = c.Ensure(t.Context(), "other", client)
		require.ErrorIs(t, err, store.ErrUnknownTopic, "an outage is not remembered as a refusal")
	})
}

func TestATopicOfTheStoreThatIsNotRegisteredIsRegisteredOnFirstUse(t *testing.T) {
	p := newPlace("sensors")
	p.registered = nil
	_, err := newCatalog(p, Options{}).Ensure(t.Context(), "sensors", client)
	require.NoError(t, err)
	require.False(t, p.HasTopic("sensors"), "without auto-create an operator decides")
	_, err = newCatalog(p, Options{AutoCreate: true}).Ensure(t.Context(), "sensors", client)
	require.NoError(t, err)
	require.True(t, p.HasTopic("sensors"))
}

func TestManyMessagesToANewTopicCreateItOnce(t *testing.T) {
	p := newPlace()
	c := newCatalog(p, Options{AutoCreate: true})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := c.Ensure(t.Context(), "sensors", client)
			require.NoError(t, err)
		})
	}
	wg.Wait()
	_, made := p.counts()
	require.Equal(t, 1, made)
}

// watcher records what a catalog knows when the watcher is notified.
type watcher struct {
	c    *Catalog
	told [][]string
	err  error
}

func (w *watcher) TopicsChanged(context.Context) error {
	w.told = append(w.told, w.c.Topics())
	return w.err
}

func TestWatchersAreToldBeforeATopicIsUsed(t *testing.T) {
	p := newPlace("a")
	c := newCatalog(p, Options{AutoCreate: true})
	w := &watcher{c: c, err: errors.New("no tail")}
	c.Watch(w)
	_, err := c.Ensure(t.Context(), "b", client)
	require.ErrorIs(t, err, w.err, "no message goes to a topic that this node does not tail")
	require.Equal(t, [][]string{{"a", "b"}}, w.told)
	w.err = nil
	require.NoError(t, c.Create(t.Context(), "c", 0))
	require.Equal(t, []string{"a", "b", "c"}, w.told[1])
	require.NoError(t, c.Changed(t.Context()))
	require.Len(t, w.told, 3)
}

func TestARefusedNameIsUsableOnceItsTopicIsThere(t *testing.T) {
	cases := []struct {
		name string
		make func(t *testing.T, c *Catalog, p *place)
	}{
		{"made here", func(t *testing.T, c *Catalog, _ *place) { require.NoError(t, c.Create(t.Context(), "new", 1)) }},
		{"made by another node", func(t *testing.T, c *Catalog, p *place) {
			require.NoError(t, newCatalog(p, Options{}).Create(t.Context(), "new", 1))
			require.NoError(t, c.Changed(t.Context()))
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p := newPlace()
			c := newCatalog(p, Options{})
			_, err := c.Ensure(t.Context(), "new", client)
			require.ErrorIs(t, err, store.ErrUnknownTopic)
			tc.make(t, c, p)
			_, err = c.Ensure(t.Context(), "new", client)
			require.NoError(t, err)
		})
	}
}

func TestADeletedTopicIsUnknownAtOnce(t *testing.T) {
	p := newPlace("sensors")
	c := newCatalog(p, Options{})
	_, err := c.Ensure(t.Context(), "sensors", client)
	require.NoError(t, err)
	require.NoError(t, c.Delete(t.Context(), "sensors"))
	_, err = c.Ensure(t.Context(), "sensors", client)
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	_, err = c.Resolve("sensors")
	require.ErrorIs(t, err, store.ErrUnknownTopic)
	require.ErrorIs(t, c.Delete(t.Context(), "sensors"), store.ErrUnknownTopic)
}

func TestATopicThatIsOnlyRegisteredCanBeDeleted(t *testing.T) {
	p := newPlace()
	p.registered = []string{"sensors"}
	c := newCatalog(p, Options{})
	require.NoError(t, c.Delete(t.Context(), "sensors"))
	require.Empty(t, c.Topics())
}

func TestWhoWaitsToCreateATopicStopsWithItsContext(t *testing.T) {
	c := newCatalog(newPlace(), Options{AutoCreate: true})
	release, err := c.begin(t.Context())
	require.NoError(t, err)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Ensure(ctx, "sensors", client)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPointToPointHasATopicOfItsOwnWhereOneTopicMayFeedAQueue(t *testing.T) {
	for single, want := range map[bool]string{false: "sensors", true: P2PTopic} {
		p := newPlace("sensors")
		p.single = single
		c := newCatalog(p, Options{})
		for range 2 {
			got, err := c.Physical(t.Context(), "sensors/p2p/client", client)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		got, err := c.Physical(t.Context(), "sensors/a", client)
		require.NoError(t, err)
		require.Equal(t, "sensors", got)
		require.Equal(t, []string{"sensors"}, c.Topics(), "it is no first-level topic")
		_, err = c.Physical(t.Context(), "other/p2p/client", client)
		require.ErrorIs(t, err, store.ErrUnknownTopic)
	}
}

func TestDispatchIsCompatibleAsConfiguredOrWhereUpstreamGatewaysAre(t *testing.T) {
	cases := []struct {
		mode     DispatchMode
		upstream []string
		want     bool
	}{
		{"", nil, false},
		{"", []string{"node"}, true},
		{Auto, nil, false},
		{Auto, []string{"node"}, true},
		{Lean, []string{"node"}, false},
		{Compatible, nil, true},
	}
	for _, tc := range cases {
		p := newPlace()
		p.upstream = tc.upstream
		require.Equal(t, tc.want, newCatalog(p, Options{Dispatch: tc.mode}).Compatible(), "%+v", tc)
	}
}

func TestAnsweringFromMemoryAllocatesNothing(t *testing.T) {
	c := newCatalog(newPlace("sensors"), Options{})
	_, err := c.Ensure(t.Context(), "sensors", client)
	require.NoError(t, err)
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = c.Physical(ctx, "sensors/a/b", client) }))
}
