package publish

import (
	"context"
	"testing"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// instant is a store that stores every message immediately.
type instant struct{ store.Store }

func (instant) Append(_ context.Context, _ store.Append, done func(store.Position, error)) {
	done(store.Position{}, nil)
}

func (instant) AppendBatch(_ context.Context, batch []store.Append, done func(int, store.Position, error)) {
	done(len(batch), store.Position{}, nil)
}

func (instant) Limits() store.Limits { return store.Limits{} }

// flat is a catalog with one topic, and metadata without filters.
type flat struct{}

func (flat) Physical(context.Context, string, topic.Maker) (string, error) { return "T", nil }
func (flat) EnsureOwn(context.Context, string, int) error                  { return nil }
func (flat) Forget(string)                                                 {}
func (flat) Compatible() bool                                              { return false }
func (flat) MatchFilters(string, func(string))                             {}
func (flat) Retain(context.Context, *store.Message, store.Position) error  { return nil }
func (flat) Room(*store.Message) error                                     { return nil }

func BenchmarkPublish(b *testing.B) {
	p := New(Options{Store: instant{}, Catalog: flat{}, Meta: flat{}, Retainer: flat{}})
	defer p.Close()
	l := p.Lanes("client", nil)
	m := &store.Message{Topic: "T/a/b", QoS: 1, Created: time.Now()}
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Publish(m, done)
	}
}

// BenchmarkPublishInALane keeps 16 messages of one client to one topic in flight.
func BenchmarkPublishInALane(b *testing.B) {
	p := New(Options{Store: instant{}, Catalog: flat{}, Meta: flat{}, Retainer: flat{}})
	defer p.Close()
	l := p.Lanes("client", nil)
	m := &store.Message{Topic: "T/a/b", QoS: 1, Created: time.Now()}
	room := make(chan struct{}, 16)
	done := func(error) { <-room }
	b.ReportAllocs()
	for b.Loop() {
		room <- struct{}{}
		l.Publish(m, done)
	}
}
