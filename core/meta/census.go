package meta

import (
	"context"
	"maps"
	"time"

	"github.com/lmqgate/lmqgate/internal/wait"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

const (
	// censusEvery is how often sessions are counted if nobody else has listed them; censusLeast is the least time between counts after a
	// refusal.
	censusEvery = time.Minute
	censusLeast = 2 * time.Second
	// An operator is warned once a resource is used to FillWarn, and again only after its use has fallen below fillQuiet.
	fillQuiet = 0.7
)

// FillWarn is the Fill.Ratio from which an operator is warned.
const FillWarn = 0.8

// run counts what no mirror holds, and warns when a resource is nearly full, until ctx ends.
func (l *ledger) run(ctx context.Context) {
	for try := 0; l.look(ctx) != nil; try++ {
		if pause(ctx, try) != nil {
			return
		}
	}
	tick := time.NewTicker(censusEvery / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.wake:
			if !l.limited() {
				continue // a listing may be large, and the next one is due within a minute
			}
			_ = l.look(ctx)
			if wait.For(ctx, censusLeast) != nil {
				return
			}
		case <-tick.C:
			l.mu.Lock()
			late := time.Since(l.census) > censusEvery+censusEvery/2
			l.mu.Unlock()
			if late || l.limited() {
				_ = l.look(ctx) // callers that need the metadata more log the failure
			}
			l.warn()
		}
	}
}

// limited reports whether the backend has limits. If it has, everything is counted.
func (l *ledger) limited() bool {
	t := l.m.traits()
	return t.GetMaxKeys() > 0 || t.GetMaxTotalBytes() > 0
}

// look counts sessions and, if the backend has limits, wills and pages.
func (l *ledger) look(ctx context.Context) error {
	if _, err := l.m.scanSessions(ctx, func(*pluginv1.Entry, stored, *Session, string) error { return nil }); err != nil {
		return err
	}
	if !l.limited() {
		return nil
	}
	wills, pages, each := &tally{}, &tally{}, map[string]willCount{}
	generation := l.m.backend.generation()
	_, err := l.m.backend.list(ctx, NamespaceWills, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			c := willCount{a: sized(e.GetKey(), e.GetValue())}
			if w, err := decodeWill(e, seen(e, generation)); err == nil {
				c.mark = w.Owner
			}
			wills.add(c.mark, c.a)
			each[e.GetKey()] = c
		}
		return nil
	})
	if err == nil {
		_, err = l.m.backend.list(ctx, NamespaceSubscriptions, "", func(entries []*pluginv1.Entry) error {
			for _, e := range entries {
				pages.add("", sized(e.GetKey(), e.GetValue()))
			}
			return nil
		})
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally[countWills], l.tally[countPages], l.wills = wills, pages, each
	return nil
}

// listing begins a listing of the sessions. The caller calls end with the sessions that the listing has found; nil if it failed.
func (l *ledger) listing() (end func(sessions *tally)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	missed := &tally{all: l.writing.all, of: maps.Clone(l.writing.of)}
	l.listings[missed] = struct{}{}
	return func(sessions *tally) {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.listings, missed)
		if sessions == nil {
			return
		}
		// The listing may have found some of them. Those count twice until the next listing, which is better than not at all.
		sessions.all = sessions.all.plus(missed.all)
		for key, a := range missed.of {
			if sessions.of == nil {
				sessions.of = map[uint64]amount{}
			}
			sessions.of[key] = sessions.of[key].plus(a)
		}
		l.tally[countSessions], l.census = sessions, time.Now()
	}
}

// takeWill makes room for a client's will, if the backend has limits. If the will is not written after all, the next census corrects the
// count. The share of an identity bounds only the wills of sessions that end with their connection; other wills belong to a session, which
// is bounded itself.
func (l *ledger) takeWill(client, mark string, kept bool, a amount) error {
	if !l.limited() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before, t := l.wills[client], l.tally[countWills]
	t.add(before.mark, before.a.minus())
	whose := mark
	if kept {
		whose = ""
	}
	if err := l.room(countWills, whose, 0, a, a); err != nil {
		t.add(before.mark, before.a)
		return err
	}
	t.add(mark, a)
	l.wills[client] = willCount{mark, a}
	return nil
}

// gaveWill records that a client's will is gone.
func (l *ledger) gaveWill(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if w, ok := l.wills[client]; ok {
		l.tally[countWills].add(w.mark, w.a.minus())
		delete(l.wills, client)
	}
}

// warn warns the operator about resources that are nearly full.
func (l *ledger) warn() {
	for _, f := range l.m.Fills() {
		switch ratio := f.Ratio(); {
		case ratio < fillQuiet:
			l.full[f.Resource] = false
		case ratio >= FillWarn && !l.full[f.Resource]:
			l.full[f.Resource] = true
			l.m.log.Warn("the metadata is getting full; what is new is refused when it is, see limits.cluster, limits.identity and limits.node",
				"resource", f.Resource, "used", f.Used, "limit", f.Max)
		}
	}
}
