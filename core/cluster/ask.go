package cluster

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Nodes ask each other questions, such as which clients are connected. Questions and answers go through the inboxes, but not through the
// boxes in which claims wait, so a large answer delays no CONNECT. They do not count as signs of life. A release that does not know a
// question does not answer it.

// ErrNoAnswer says that a node did not answer a question in time.
var ErrNoAnswer = errors.New("it did not answer in time")

// errSilent says that a node was not asked, because it does not read its inbox.
var errSilent = errors.New("it does not answer the other nodes")

// errClosing says that this node is shutting down.
var errClosing = errors.New("this node is shutting down")

const (
	// answerTime is how long a node has to answer.
	answerTime = 2 * time.Second
	// answerMost bounds an answer, in bytes. answerPart is how many compressed bytes of it go into one letter.
	answerMost = 4 << 20
	answerPart = 64 << 10
	// asksMost bounds the questions that this node asks concurrently, answersMost those that it answers. Up to answersWaiting more of each
	// kind wait.
	asksMost       = 16
	answersMost    = 4 // and as many again for questions that a SUBSCRIBE waits for
	answersWaiting = 64
)

// Answer is the answer of one node.
type Answer struct {
	Node string
	Body []byte
	// Err says why there is no answer: ErrNoAnswer, or the error on that node.
	Err error
}

// question is a question that waits for answers. The cluster's mutex guards it.
type question struct {
	id      string
	answers map[string]*Answer
	parts   map[string][][]byte
	missing int
	done    chan struct{} // closed when nothing is missing
}

// Ask asks all other nodes, or the named ones, and returns their answers, ordered by node id. It takes at most two seconds. Nodes that the
// metadata names but that do not read their inbox are in the result with an error; nobody waits for them.
func (c *Cluster) Ask(ctx context.Context, subject string, body []byte, nodes ...string) []Answer {
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	q := c.question(nodes)
	if len(q.answers) == 0 {
		return nil
	}
	select {
	case c.asks <- struct{}{}:
		defer func() { <-c.asks }()
		c.put(ctx, q, kindAsk, subject, body)
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.close(q)
}

// close ends a question and returns the answers, ordered by node id. Called with mu held.
func (c *Cluster) close(q *question) []Answer {
	delete(c.questions, q.id)
	out := make([]Answer, 0, len(q.answers))
	for _, id := range slices.Sorted(maps.Keys(q.answers)) {
		a := q.answers[id]
		if a.Err == nil && a.Body == nil {
			a.Err = ErrNoAnswer
		}
		out = append(out, *a)
	}
	return out
}

// question registers a question and determines which nodes it is for.
func (c *Cluster) question(nodes []string) *question {
	named := c.o.Nodes()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serial++
	q := &question{id: c.instance + strconv.FormatInt(c.serial, 36), answers: map[string]*Answer{}, parts: map[string][][]byte{},
		done: make(chan struct{})}
	if len(nodes) == 0 {
		nodes = append(slices.Clone(c.members), named...)
	}
	now := time.Now()
	for _, id := range nodes {
		if id == c.o.NodeID || q.answers[id] != nil {
			continue
		}
		if _, left := c.gones[id]; left && c.peers[id] == nil {
			continue
		}
		a := &Answer{Node: id}
		q.answers[id] = a
		switch p := c.peers[id]; {
		case c.stopped:
			a.Err = errClosing
		case p == nil, p.heard.IsZero(), c.silent(p, now):
			a.Err = errSilent
		default:
			q.missing++
		}
	}
	if len(q.answers) > 0 { // else there is nobody to answer
		c.questions[q.id] = q
	}
	return q
}

// put sends a question to every node that is to answer it, and waits for the answers.
func (c *Cluster) put(ctx context.Context, q *question, kind, subject string, body []byte) {
	c.mu.Lock()
	var to []string
	for id, a := range q.answers {
		if a.Err == nil {
			to = append(to, id)
		}
	}
	c.mu.Unlock()
	if len(to) == 0 {
		return
	}
	m := message{Kind: kind, Claim: q.id, Subject: subject, Body: body}
	for _, id := range to {
		go func() {
			if err := c.say(ctx, id, &m); err != nil {
				c.mu.Lock()
				c.answer(q, id, nil, fmt.Errorf("asking it failed: %w", err))
				c.mu.Unlock()
			}
		}()
	}
	select {
	case <-q.done:
	case <-ctx.Done():
	}
}

// say stores one message in an inbox, bypassing the box.
func (c *Cluster) say(ctx context.Context, to string, m *message) error {
	l := letter{From: c.o.NodeID, Instance: c.instance, Messages: []message{*m}}
	b, err := l.encode()
	if err != nil {
		return err
	}
	return c.store(ctx, to, b)
}

// answer records a node's answer. Called with mu held.
func (c *Cluster) answer(q *question, node string, body []byte, err error) {
	a := q.answers[node]
	if a == nil || a.Err != nil || a.Body != nil {
		return
	}
	if a.Body, a.Err = body, err; err == nil && body == nil {
		a.Body = []byte{}
	}
	if q.missing--; q.missing == 0 {
		close(q.done)
	}
}

// replied handles a part of an answer. Called with mu held.
func (c *Cluster) replied(from string, m *message) {
	q := c.questions[m.Claim]
	if q == nil || q.answers[from] == nil {
		return // too late, or not a question of this node
	}
	if m.Failure != "" {
		c.answer(q, from, nil, errors.New(m.Failure))
		return
	}
	parts := q.parts[from]
	if parts == nil && m.Parts > 0 && m.Parts <= 2*answerMost/answerPart {
		parts = make([][]byte, m.Parts)
		q.parts[from] = parts
	}
	if m.Part < 0 || m.Part >= len(parts) {
		c.answer(q, from, nil, errors.New("its answer cannot be read"))
		return
	}
	parts[m.Part] = append([]byte{}, m.Body...)
	if slices.ContainsFunc(parts, func(p []byte) bool { return p == nil }) {
		return
	}
	delete(q.parts, from)
	body, err := inflate(bytes.Join(parts, nil))
	c.answer(q, from, body, err)
}

// asked answers a question of another node. Called with mu held.
func (c *Cluster) asked(from string, m *message) {
	waiting, most, slots := &c.answering, answersWaiting, c.answers
	if m.Kind == kindTell { // a SUBSCRIBE waits for it, so questions of operators must not delay it
		waiting, most, slots = &c.acting, max(answersWaiting, announceMost*len(c.members)), c.acts
	}
	if c.o.Answer == nil || *waiting >= most {
		c.metrics.left.Inc()
		return
	}
	*waiting++
	question := *m
	over := make(chan struct{})
	if m.Kind == kindTell {
		c.acted[over] = struct{}{}
	}
	c.wg.Go(func() {
		defer func() {
			c.mu.Lock()
			*waiting--
			delete(c.acted, over)
			close(over)
			c.mu.Unlock()
		}()
		ctx, cancel := context.WithTimeout(c.ctx, answerTime)
		defer cancel()
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		case <-ctx.Done():
			return
		}
		if err := c.respond(ctx, from, &question); err != nil && c.ctx.Err() == nil {
			c.log.Debug("answering another node failed", "node", from, "subject", question.Subject, "error", err)
		}
	})
}

// work answers a question. Anyone who may write to the inbox may ask anything, so a failure here must not end the node.
func (c *Cluster) work(ctx context.Context, from string, m *message) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("answering another node failed", "node", from, "subject", m.Subject, "panic", fmt.Sprint(p),
				"stack", string(debug.Stack()))
			body, err = nil, errors.New("answering failed there; see its log")
		}
	}()
	return c.o.Answer(ctx, from, m.Subject, m.Body)
}

func (c *Cluster) respond(ctx context.Context, to string, m *message) error {
	reply := message{Kind: kindReply, Claim: m.Claim}
	body, err := c.work(ctx, to, m)
	if err == nil && len(body) > answerMost {
		err = fmt.Errorf("the answer has %d bytes, over %d", len(body), answerMost)
	}
	if err != nil {
		reply.Failure = err.Error()
		return c.say(ctx, to, &reply)
	}
	parts := slices.Collect(slices.Chunk(deflate(body), answerPart))
	for i, part := range parts {
		reply.Part, reply.Parts, reply.Body = i, len(parts), part
		if err := c.say(ctx, to, &reply); err != nil {
			return err
		}
	}
	return nil
}

func deflate(body []byte) []byte {
	var b bytes.Buffer
	w, _ := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(&b)
	_, _ = w.Write(body) // writing to memory cannot fail
	_ = w.Close()
	return b.Bytes()
}

// deflaters are pooled, because each takes more than a megabyte.
var deflaters = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.BestSpeed) // cannot fail: the level is valid
	return w
}}

func inflate(b []byte) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b)), answerMost+1))
	if err == nil && len(body) > answerMost {
		err = fmt.Errorf("over %d bytes", answerMost)
	}
	if err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	return body, nil
}
