package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Announcer tells the other nodes about named things, such as filters, and waits until each node has acted on them. Names that come while a
// round is under way share the next round.
type Announcer struct {
	c       *Cluster
	subject string

	mu   sync.Mutex
	next *round
	busy bool
}

// round is a set of names that are announced together.
type round struct {
	names []string
	done  chan struct{}

	// err and lacking are valid once done is closed. err says why not all names are confirmed, lacking which ones are not; nil: none of
	// them is.
	err     error
	lacking map[string]bool
}

const (
	// announceBytes and announceNames bound the names of one question. announceMost bounds the questions of a round that are asked
	// concurrently.
	announceBytes = 48 << 10
	announceNames = 256
	announceMost  = 4
)

// Announcer makes an Announcer. The other nodes receive the names as a JSON list through Options.Answer, and answer with a list of those on
// which they could not act.
func (c *Cluster) Announcer(subject string) *Announcer { return &Announcer{c: c, subject: subject} }

// Tell returns nil once every live node has acted on the names; if this node is alone, it does so at once. Otherwise it returns the names
// that are not confirmed, and an error that names a node.
func (a *Announcer) Tell(ctx context.Context, names ...string) (failed []string, err error) {
	if !a.c.Shared() || len(names) == 0 {
		return nil, nil
	}
	a.mu.Lock()
	if a.next == nil {
		a.next = &round{done: make(chan struct{})}
	}
	r := a.next
	r.names = append(r.names, names...)
	if !a.busy {
		a.busy = true
		go a.run()
	}
	a.mu.Unlock()
	select {
	case <-r.done:
	case <-ctx.Done():
		return names, ctx.Err()
	}
	if r.err == nil {
		return nil, nil
	}
	for _, name := range names {
		if r.lacking == nil || r.lacking[name] {
			failed = append(failed, name)
		}
	}
	if len(failed) == 0 {
		return nil, nil
	}
	return failed, r.err
}

// run tells rounds until there are none left.
func (a *Announcer) run() {
	for {
		a.mu.Lock()
		r := a.next
		a.next = nil
		if a.busy = r != nil; !a.busy {
			a.mu.Unlock()
			return
		}
		a.mu.Unlock()
		a.tell(r)
		close(r.done)
	}
}

func (a *Announcer) tell(r *round) {
	slices.Sort(r.names)
	names := slices.Compact(r.names)
	lacking, unlisted := map[string]bool{}, false
	var failed error
	var mu sync.Mutex
	var all errgroup.Group
	all.SetLimit(announceMost)
	for len(names) > 0 {
		n, size := 0, 0
		for n < len(names) && n < announceNames && (n == 0 || size+len(names[n]) <= announceBytes) {
			size += len(names[n])
			n++
		}
		some := names[:n]
		names = names[n:]
		all.Go(func() error {
			body, err := json.Marshal(some)
			if err != nil {
				return err // strings always encode
			}
			lack, err := a.c.confirm(a.c.ctx, a.subject, body)
			mu.Lock()
			defer mu.Unlock()
			for _, name := range lack {
				lacking[name] = true
			}
			unlisted = unlisted || err != nil && len(lack) == 0
			if err != nil && failed == nil {
				failed = err
			}
			return nil
		})
	}
	_ = all.Wait() // the functions return no errors
	if r.err = failed; !unlisted {
		r.lacking = lacking
	}
}

// pingAfter is how long a node may take to act on an announcement before it is pinged.
const pingAfter = 200 * time.Millisecond

// pingMissing pings the nodes that have not answered a question.
func (c *Cluster) pingMissing(q *question) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, a := range q.answers {
		if p := c.peers[id]; p != nil && a.Err == nil && a.Body == nil && p.unanswered.IsZero() {
			c.post(id, message{Kind: kindPing})
		}
	}
}

// confirm asks every other live node, and returns nil once all have answered. It does not wait for nodes that end or stop meanwhile. If a
// node answers that it lacks some names, confirm returns those with the error.
func (c *Cluster) confirm(ctx context.Context, subject string, body []byte) (lacking []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	c.mu.Lock()
	members := slices.Clone(c.members)
	c.mu.Unlock()
	if len(members) <= 1 {
		return nil, nil
	}
	q := c.question(members)
	// A node that does not answer soon is pinged, so that its lease begins to run now.
	pings := time.AfterFunc(pingAfter, func() { c.pingMissing(q) })
	defer pings.Stop()
	c.put(ctx, q, kindTell, subject, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.close(q) {
		if !slices.Contains(c.members, a.Node) || errors.Is(a.Err, errSilent) {
			continue
		}
		var lacks []string
		failed := a.Err
		if failed == nil {
			failed = json.Unmarshal(a.Body, &lacks)
		}
		if failed != nil {
			return nil, fmt.Errorf("node %q has not confirmed it: %w", a.Node, failed)
		}
		if len(lacks) > 0 {
			lacking = append(lacking, lacks...)
			err = fmt.Errorf("node %q does not find %q in the metadata", a.Node, lacks[0])
		}
	}
	return lacking, err
}
