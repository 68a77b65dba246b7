package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// settle is how long a read waits for the other namesrvs once one has answered.
const settle = 300 * time.Millisecond

// cluster represents all name servers.
//
// Writes go to every name server and succeed when one of them has the whole batch. Reads of lmqgate's namespaces ask every name server that
// answers and take, for each key, the value with the highest stamp. Values in LMQ have no stamps: reads of it ask the first name server
// that answers and has missed no write of this process.
type cluster struct {
	peers []*peer
	log   *slog.Logger
	// writer identifies this process in stamps.
	writer string
	usage  *usage
	// stale wakes repair.
	stale chan struct{}

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// clock is the highest revision seen or issued. It includes revisions that were read, so a write always has a higher revision than
	// anything its writer knew of, whatever the machines' clocks say.
	clock int64
	// foreign remembers texts without a stamp, so that their revision increases when they change.
	foreign map[changeID]foreignText
	// spaces are lmqgate's namespaces that were used.
	spaces map[string]bool
}

type foreignText struct {
	raw      string
	revision int64
}

// startCluster starts the goroutines that write and repair; close stops them.
func startCluster(addrs []string, kv kv, log *slog.Logger) *cluster {
	ctx, cancel := context.WithCancel(context.Background())
	c := &cluster{log: log, writer: rand.Text()[:6], usage: newUsage(), stale: make(chan struct{}, 1), cancel: cancel,
		foreign: map[changeID]foreignText{}, spaces: map[string]bool{}}
	for _, addr := range addrs {
		p := newPeer(addr, kv, log)
		c.peers = append(c.peers, p)
		c.wg.Go(func() { p.run(ctx) })
	}
	c.wg.Go(func() { c.repairs(ctx) })
	return c
}

func (c *cluster) close() {
	c.cancel()
	c.wg.Wait()
}

// tick returns the next revision.
func (c *cluster) tick() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = max(c.clock+1, time.Now().UnixMicro())
	return c.clock
}

func (c *cluster) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.clock, 1)
}

// revision returns the revision of an item that was read. An item without a stamp gets one that is valid as long as this process lives.
func (c *cluster) revision(ns, key string, it item) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !it.foreign {
		c.clock = max(c.clock, it.revision)
		return it.revision
	}
	id := changeID{ns, key}
	f, known := c.foreign[id]
	if !known || f.raw != it.raw {
		c.clock = max(c.clock+1, time.Now().UnixMicro())
		f = foreignText{it.raw, c.clock}
		c.foreign[id] = f
	}
	return f.revision
}

// wroteForeign records the revision of a text that this process wrote without a stamp.
func (c *cluster) wroteForeign(ns, key string, raw string, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.foreign[changeID{ns, key}] = foreignText{raw, revision}
}

// uses records one of lmqgate's namespaces, for repair.
func (c *cluster) uses(ns string) {
	if ns == upstream {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spaces[ns] = true
}

// candidates returns the peers worth asking: those that answer, or all if none does.
func (c *cluster) candidates() []*peer {
	var up []*peer
	for _, p := range c.peers {
		if p.up() {
			up = append(up, p)
		}
	}
	if len(up) == 0 {
		return c.peers
	}
	return up
}

// write applies changes on every name server and waits for all that are believed to be up. It returns nil if at least one has applied all
// changes; repair updates the others later.
func (c *cluster) write(ctx context.Context, changes []change) error {
	asked := c.candidates()
	waits := make([]<-chan error, len(asked))
	for i, p := range asked {
		waits[i] = p.enqueue(changes)
	}
	outcome := make(chan error, 1)
	c.wg.Go(func() { // ends when the peers have answered; their run goroutines ensure that
		var errs []error
		var have, miss []*peer
		for i, w := range waits {
			if err := <-w; err != nil {
				errs, miss = append(errs, err), append(miss, asked[i])
			} else {
				have = append(have, asked[i])
			}
		}
		if len(have) == 0 {
			outcome <- errors.Join(errs...)
			return
		}
		for _, p := range have {
			p.hasWrite(changes)
		}
		for _, p := range c.peers {
			if slices.Contains(miss, p) || !slices.Contains(asked, p) {
				p.missedWrite(changes)
			}
		}
		outcome <- nil
	})
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask calls f on all candidates concurrently and returns the answers. After the first answer it waits only briefly for the others.
func ask[T any](ctx context.Context, c *cluster, f func(context.Context, *peer) (T, error)) (map[*peer]T, error) {
	type answer struct {
		p   *peer
		v   T
		err error
	}
	asked := c.candidates()
	answers := make(chan answer, len(asked))
	for _, p := range asked {
		go func() { // ends at the timeout of the call
			v, err := f(ctx, p)
			answers <- answer{p, v, err}
		}()
	}
	got := map[*peer]T{}
	var errs []error
	var late <-chan time.Time
	for range asked {
		select {
		case a := <-answers:
			if a.err != nil {
				errs = append(errs, a.err)
				continue
			}
			if got[a.p] = a.v; late == nil {
				t := time.NewTimer(settle)
				defer t.Stop()
				late = t.C
			}
		case <-late:
			return got, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if len(got) == 0 {
		return nil, errors.Join(errs...)
	}
	return got, nil
}

// text is a value that may be absent.
type text struct {
	raw   string
	found bool
}

// get reads one key; found is false for an absent or removed one.
func (c *cluster) get(ctx context.Context, ns, key string) (it item, found bool, err error) {
	if ns == upstream {
		err := c.first(func(p *peer) error {
			raw, ok, err := p.get(ctx, ns, key)
			it, found = item{value: []byte(raw), raw: raw, foreign: true}, ok
			return err
		})
		return it, found, err
	}
	c.uses(ns)
	got, err := ask(ctx, c, func(ctx context.Context, p *peer) (text, error) {
		raw, ok, err := p.get(ctx, ns, encodeKey(key))
		return text{raw, ok}, err
	})
	if err != nil {
		return item{}, false, err
	}
	for _, t := range got {
		if !t.found {
			continue
		}
		if o := decodeItem(t.raw); !found || it.before(o.stamp) {
			it, found = o, true
		}
	}
	for p, t := range got {
		if found && t.raw != it.raw {
			c.suspect(p)
		}
	}
	return it, found && !it.removed, nil
}

// list reads a namespace, removed keys included.
func (c *cluster) list(ctx context.Context, ns string) (map[string]item, error) {
	if ns == upstream {
		var table map[string]string
		err := c.first(func(p *peer) (err error) {
			table, err = p.list(ctx, ns)
			return err
		})
		items := make(map[string]item, len(table))
		for key, raw := range table {
			items[key] = item{value: []byte(raw), raw: raw, foreign: true}
		}
		return items, err
	}
	c.uses(ns)
	got, err := ask(ctx, c, func(ctx context.Context, p *peer) (map[string]string, error) { return p.list(ctx, ns) })
	if err != nil {
		return nil, err
	}
	items := merge(got)
	for p, table := range got {
		for text, it := range items {
			if table[text] != it.raw {
				c.suspect(p)
				break
			}
		}
	}
	c.usage.listed(ns, items)
	return items, nil
}

// merge takes the highest stamp of each key. The keys are still encoded.
func merge(tables map[*peer]map[string]string) map[string]item {
	items := map[string]item{}
	for _, table := range tables {
		for key, raw := range table {
			it := decodeItem(raw)
			if have, ok := items[key]; !ok || have.before(it.stamp) || have.foreign && it.foreign && have.raw < it.raw {
				items[key] = it
			}
		}
	}
	return items
}

// suspect records that a name server has old values.
func (c *cluster) suspect(p *peer) {
	p.setBehind(true)
	select {
	case c.stale <- struct{}{}:
	default:
	}
}

// first calls f on one peer after another until it succeeds, beginning with those that missed no write.
func (c *cluster) first(f func(*peer) error) error {
	var good, behind []*peer
	for _, p := range c.candidates() {
		p.mu.Lock()
		missed := len(p.missed) > 0
		p.mu.Unlock()
		if missed {
			behind = append(behind, p)
		} else {
			good = append(good, p)
		}
	}
	var errs []error
	for _, p := range append(good, behind...) {
		err := f(p)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// answering returns nil if at least one name server is believed to be up.
func (c *cluster) answering() error {
	for _, p := range c.peers {
		if p.up() {
			return nil
		}
	}
	return errors.New("no namesrv answers: " + c.addrs())
}

func (c *cluster) addrs() string {
	all := make([]string, len(c.peers))
	for i, p := range c.peers {
		all[i] = p.addr
	}
	return strings.Join(all, ", ")
}
