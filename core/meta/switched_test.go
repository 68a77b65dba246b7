package meta

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/core/meta/metatest"
	"github.com/lmqgate/lmqgate/core/store"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// switchable is the stable client of a plugin, which a test can redirect to another backend.
type switchable struct {
	to atomic.Pointer[metatest.Backend]
	at map[*metatest.Backend]pluginv1.MetaClient
}

func newSwitchable(backends ...*metatest.Backend) *switchable {
	s := &switchable{at: map[*metatest.Backend]pluginv1.MetaClient{}}
	for _, b := range backends {
		s.at[b] = b.Client()
	}
	s.to.Store(backends[0])
	return s
}

func (s *switchable) now() pluginv1.MetaClient     { return s.at[s.to.Load()] }
func (s *switchable) traits() *pluginv1.MetaTraits { return s.to.Load().Traits() }

func (s *switchable) Get(ctx context.Context, in *pluginv1.GetRequest, o ...grpc.CallOption) (*pluginv1.GetResponse, error) {
	return s.now().Get(ctx, in, o...)
}
func (s *switchable) List(ctx context.Context, in *pluginv1.ListRequest, o ...grpc.CallOption) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	return s.now().List(ctx, in, o...)
}
func (s *switchable) Put(ctx context.Context, in *pluginv1.PutRequest, o ...grpc.CallOption) (*pluginv1.PutResponse, error) {
	return s.now().Put(ctx, in, o...)
}
func (s *switchable) Delete(ctx context.Context, in *pluginv1.DeleteRequest, o ...grpc.CallOption) (*pluginv1.DeleteResponse, error) {
	return s.now().Delete(ctx, in, o...)
}
func (s *switchable) Batch(ctx context.Context, in *pluginv1.BatchRequest, o ...grpc.CallOption) (*pluginv1.BatchResponse, error) {
	return s.now().Batch(ctx, in, o...)
}
func (s *switchable) Watch(ctx context.Context, in *pluginv1.WatchRequest, o ...grpc.CallOption) (grpc.ServerStreamingClient[pluginv1.WatchResponse], error) {
	return s.now().Watch(ctx, in, o...)
}

// copyAll copies everything from one backend to another, which assigns its own revisions.
func copyAll(t *testing.T, from, to *metatest.Backend) {
	t.Helper()
	for _, ns := range Moved() {
		for _, key := range from.Keys(ns) {
			got, err := from.Client().Get(t.Context(), &pluginv1.GetRequest{Namespace: ns, Key: key})
			require.NoError(t, err)
			_, err = to.Client().Put(t.Context(), &pluginv1.PutRequest{Namespace: ns, Key: key, Value: got.GetEntry().GetValue()})
			require.NoError(t, err)
		}
	}
}

func TestANodeGoesOnOnAnotherBackendWithRevisionsOfItsOwn(t *testing.T) {
	for from, before := range flavours {
		for to, after := range flavours {
			t.Run(from+" to "+to, func(t *testing.T) {
				on(t, before(), func(t *testing.T, a *metatest.Backend) {
					ctx := t.Context()
					b := metatest.New(after())
					t.Cleanup(b.Close)
					s := newSwitchable(a, b)
					m := start(t, a, "one", func(o *Options) { o.Client, o.Traits = s, s.traits })
					for i := range 50 { // so that the revisions are far from those of the other backend
						require.NoError(t, m.RegisterFilters(ctx, fmt.Sprintf("old/%d/#", i)))
					}
					require.NoError(t, m.AddTopic(ctx, "first"))
					kept := &Retained{Message: &store.Message{Topic: "first/r", Payload: []byte("1")}, Position: store.Position{Log: 1}}
					require.NoError(t, m.SetRetained(ctx, kept))
					session := &Session{ClientID: "c", Expiry: time.Hour}
					require.NoError(t, m.SaveSession(ctx, session))
					require.NoError(t, m.SaveWill(ctx, &Will{ClientID: "c", Node: "one", Message: &store.Message{Topic: "first/w"}}))
					will, err := m.LoadWill(ctx, "c")
					require.NoError(t, err)
					loaded, err := m.LoadSession(ctx, "c")
					require.NoError(t, err)

					of := func(x *metatest.Backend) string {
						text, err := Content(ctx, x.Client())
						require.NoError(t, err)
						return text
					}
					eventually(t, func() bool { copyAll(t, a, b); return of(a) == of(b) }) // lists are written in the background
					require.Contains(t, of(a), "items with the digest")

					s.to.Store(b)
					m.Switched()
					// Another node on the new backend, where revisions are low.
					other := start(t, b, "two")
					require.NoError(t, other.RegisterFilters(ctx, "new/#"))
					eventually(t, func() bool { return m.HasFilter("new/#") })
					require.True(t, m.HasFilter("old/7/#"))
					require.Len(t, queues(m, "old/7/x"), 1)
					next := &Retained{Message: &store.Message{Topic: "first/r", Payload: []byte("2")}, Position: store.Position{Log: 2}}
					require.NoError(t, other.SetRetained(ctx, next))
					eventually(t, func() bool { return string(retainedPayload(m, "first/r")) == "2" })

					// Records that were read from the old backend can be written and claimed.
					session.Username, session.Epoch = "u", 1
					require.NoError(t, m.SaveSession(ctx, session))
					again, err := m.LoadSession(ctx, "c")
					require.NoError(t, err)
					require.Equal(t, "u", again.Username)
					done, err := m.TakeThisWill(ctx, will)
					require.NoError(t, err)
					require.True(t, done)
					require.ErrorIs(t, m.DropSession(ctx, loaded), ErrConflict, "it was saved since")
					require.NoError(t, m.DropSession(ctx, again))
					require.NoError(t, m.RegisterFilters(ctx, "own/#"))
					eventually(t, func() bool { return other.HasFilter("own/#") })
					require.NotEqual(t, of(a), of(b))
					eventually(t, func() bool { return m.Healthy() == nil })
				})
			})
		}
	}
}

func retainedPayload(m *Meta, name string) (payload []byte) {
	m.MatchRetained(name, func(r *Retained) bool { payload = r.Message.Payload; return true })
	return payload
}
