package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	repairEvery  = 2 * time.Second // while a name server is known to be behind
	compareEvery = time.Minute     // otherwise
	// purgeAfter is the least time that a tombstone is kept; it is purged once every name server has it.
	purgeAfter = 10 * time.Minute
)

// repairs updates name servers that are behind, until ctx ends.
func (c *cluster) repairs(ctx context.Context) {
	t := time.NewTicker(repairEvery)
	defer t.Stop()
	compared := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-c.stale:
			// A write that is arriving everywhere at this moment looks the same: check again at the next tick.
			continue
		}
		behind := false
		for _, p := range c.peers {
			behind = behind || p.isBehind()
		}
		if !behind && time.Since(compared) < compareEvery {
			continue
		}
		if len(c.peers) > 1 || behind {
			compared = time.Now()
			c.repair(ctx, time.Now())
		}
	}
}

// repair compares all name servers that answer, and writes to each the values that it lacks.
func (c *cluster) repair(ctx context.Context, now time.Time) {
	for _, p := range c.peers {
		p.setBehind(false) // a write that fails from here on sets it again
	}
	incomplete := map[*peer]bool{}
	c.mu.Lock()
	spaces := slices.Sorted(maps.Keys(c.spaces))
	c.mu.Unlock()
	for _, ns := range spaces {
		got := c.tables(ctx, ns, incomplete)
		items := merge(got)
		c.usage.listed(ns, items)
		for p, table := range got {
			var changes []change
			for key, it := range items {
				have, ok := table[key]
				switch {
				case ok && have == it.raw, !ok && it.removed && c.age(it, now) > purgeAfter:
				default:
					changes = append(changes, change{ns, key, &it.raw, unchanged(p, ns, key, text{have, ok})})
				}
			}
			if len(changes) > 0 && !c.bring(ctx, p, changes) {
				incomplete[p] = true
			}
		}
		if len(got) == len(c.peers) {
			c.purge(ctx, ns, items, got, now)
		}
	}
	c.repairUpstream(ctx, incomplete)
	for p := range incomplete {
		p.setBehind(true)
	}
}

// unchanged reports whether a key still has the text that the comparison saw.
func unchanged(p *peer, ns, key string, seen text) func(context.Context) bool {
	return func(ctx context.Context) bool {
		raw, ok, err := p.kv.GetKVConfig(ctx, p.addr, ns, key)
		return err == nil && text{raw, ok} == seen
	}
}

// tables lists a namespace on every name server, including those that are currently skipped.
func (c *cluster) tables(ctx context.Context, ns string, incomplete map[*peer]bool) map[*peer]map[string]string {
	got := map[*peer]map[string]string{}
	for _, p := range c.peers {
		if incomplete[p] {
			continue
		}
		table, err := p.list(ctx, ns)
		if err != nil {
			incomplete[p] = true
			continue
		}
		got[p] = table
	}
	return got
}

func (c *cluster) bring(ctx context.Context, p *peer, changes []change) bool {
	select {
	case err := <-p.enqueue(changes):
		if err != nil {
			return false
		}
		c.log.Info("namesrv brought up to date", "namesrv", p.addr, "namespace", changes[0].ns, "keys", len(changes))
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *cluster) age(it item, now time.Time) time.Duration {
	return now.Sub(time.UnixMicro(it.revision))
}

// purge deletes tombstones that every name server has.
func (c *cluster) purge(ctx context.Context, ns string, items map[string]item, got map[*peer]map[string]string, now time.Time) {
	var gone []change
	for key, it := range items {
		agreed := it.removed && c.age(it, now) > purgeAfter
		for _, table := range got {
			raw, ok := table[key]
			agreed = agreed && (!ok || raw == it.raw)
		}
		if agreed {
			gone = append(gone, change{ns: ns, key: key})
		}
	}
	if len(gone) > 0 {
		if err := c.write(ctx, gone); err != nil {
			c.log.Debug("removed keys not purged yet", "namespace", ns, "error", err)
		}
	}
}

// repairUpstream applies changes of the namespace LMQ that a name server missed, and fills a name server that has no key of it at all (a
// new one). Other differences are logged but not repaired, because nothing says which side is right.
func (c *cluster) repairUpstream(ctx context.Context, incomplete map[*peer]bool) {
	got := c.tables(ctx, upstream, incomplete)
	if len(got) == 0 {
		return
	}
	for p := range got {
		missed := p.misses()
		switch {
		case len(missed) == 0:
		case c.bring(ctx, p, missed):
			p.hasWrite(missed)
		default:
			incomplete[p] = true
		}
	}
	for p, table := range got {
		for _, o := range c.peers {
			other := got[o]
			if o == p || len(other) == 0 || incomplete[p] {
				continue
			}
			if len(table) == 0 {
				var changes []change
				for key, raw := range other {
					changes = append(changes, change{upstream, key, &raw, unchanged(p, upstream, key, text{})})
				}
				if !c.bring(ctx, p, changes) {
					incomplete[p] = true
				}
				break
			}
		}
	}
	c.tellDifferences(ctx, incomplete)
}

// tellDifferences logs keys of LMQ whose values differ between name servers.
func (c *cluster) tellDifferences(ctx context.Context, incomplete map[*peer]bool) {
	got := c.tables(ctx, upstream, incomplete)
	told := map[string]bool{}
	for p, table := range got {
		for o, other := range got {
			if p == o {
				continue
			}
			for key, raw := range table {
				if have, ok := other[key]; (!ok || have != raw) && !told[key] {
					told[key] = true
					c.log.Warn(
						"namesrvs differ in a key of the namespace LMQ; write it again with mqadmin updateKvConfig, giving -n all namesrvs",
						"key",
						fmt.Sprintf("%q", key),
						"namesrv",
						p.addr,
						"other",
						o.addr,
					)
				}
			}
		}
	}
}
