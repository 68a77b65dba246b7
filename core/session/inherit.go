package session

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/internal/wait"
)

// When a client begins a new session on this node, its session on another node ends, and that node publishes the will. It does not if it
// was stopped so long that it is fenced when it wakes: it then finds the will's record changed, and leaves the will to this node. Nor does
// it if its process is gone. So this node takes the record, keeps the will, and asks the other node what has become of it, until that node
// answers or is no member of the cluster any more.

// AskWills is the question what has become of wills. AnswerWills answers it.
const AskWills = "wills"

// willAsked is a will in a question.
type willAsked struct {
	Client  string `json:"client"`
	Created int64  `json:"created_ms"`
}

// The answers about a will.
const (
	willDone    = "done"    // published, or not due; or that will be so without anybody's help
	willLeft    = "left"    // left to the node that asks
	willUnknown = "unknown" // not decided yet
)

const (
	// inheritPause is the interval between two questions to a node; the first question comes sooner, before the node may have been
	// restarted. inheritMost is how long an inherited will is kept without an answer.
	inheritFirst = 200 * time.Millisecond
	inheritPause = time.Second
	inheritMost  = 2 * time.Minute
	// inheritedMost bounds the inherited wills of one node, and leftMost the wills that this node has left to others. Further ones are not
	// published. inheritedAsked is how many one question is about.
	inheritedMost  = 1 << 14
	leftMost       = 1 << 16
	inheritedAsked = 512
)

// inherited is a will that another node publishes, or this one.
type inherited struct {
	will  *meta.Will
	since time.Time
}

// leftWill is a will that this node has left to another one.
type leftWill struct {
	created int64
	at      time.Time
}

// inherits reports whether a new session on this node ends the one that a will on another node belongs to.
func (s *Session) inherits(w *meta.Will) bool {
	return w.Node != s.m.o.NodeID && (s.m.o.AnyOwner || w.Owner == "" || w.Owner == s.mark)
}

// inherit keeps a will that was taken from another node until it is known who publishes it.
func (m *Manager) inherit(w *meta.Will) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, left := m.left[w.Node]; left {
		return // the client has come from a node that left in good order
	}
	waiting, asks := m.inherited[w.Node]
	if len(waiting) >= inheritedMost {
		return
	}
	m.inherited[w.Node] = append(waiting, inherited{w, time.Now()})
	if !asks && !m.run(func() { m.settleInherited(w.Node) }) {
		delete(m.inherited, w.Node)
	}
}

// disinherit drops the wills that were taken from a node: it left in good order, and their clients are back.
func (m *Manager) disinherit(node string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inherited[node] != nil {
		m.inherited[node] = []inherited{} // settleInherited ends
	}
}

// settleInherited asks a node about the wills that were taken from it until none is left.
func (m *Manager) settleInherited(node string) {
	absent := 0
	for pause := inheritFirst; wait.For(m.ctx, pause) == nil; pause = inheritPause {
		m.mu.Lock()
		some := m.inherited[node]
		some = some[:min(len(some), inheritedAsked):min(len(some), inheritedAsked)]
		if len(some) == 0 {
			delete(m.inherited, node)
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		if m.member(node) {
			absent = 0
		} else {
			absent++
		}
		fates, left := m.fates(node, some)
		var again []inherited
		for i, in := range some {
			switch {
			case left: // its clients are back
			case fates != nil && fates[i] == willLeft, fates == nil && absent > 1:
				m.run(func() { m.publishRecorded(in.will) })
			case fates != nil && fates[i] == willDone, time.Since(in.since) > inheritMost:
			default:
				again = append(again, in)
			}
		}
		m.mu.Lock()
		if rest := m.inherited[node]; len(rest) >= len(some) {
			m.inherited[node] = append(rest[len(some):len(rest):len(rest)], again...)
		}
		m.mu.Unlock()
	}
}

// fates asks a node what has become of wills; nil: it does not answer. left says that the node has shut down in good order.
func (m *Manager) fates(node string, some []inherited) (fates []string, left bool) {
	asked := make([]willAsked, len(some))
	for i, in := range some {
		asked[i] = willAsked{in.will.ClientID, in.will.Message.Created.UnixMilli()}
	}
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, false // this always encodes
	}
	answers := m.o.Cluster.Ask(m.ctx, AskWills, body, node)
	if len(answers) == 0 {
		return nil, m.ctx.Err() == nil
	}
	if answers[0].Err != nil || json.Unmarshal(answers[0].Body, &fates) != nil || len(fates) != len(some) {
		return nil, false
	}
	return fates, false
}

// AnswerWills tells another node what has become of wills (a JSON array) that clients left on this one.
func (m *Manager) AnswerWills(ctx context.Context, body []byte) ([]byte, error) {
	var asked []willAsked
	if err := json.Unmarshal(body, &asked); err != nil {
		return nil, fmt.Errorf("the list of wills cannot be read: %w", err)
	}
	fates := make([]string, len(asked))
	for i, w := range asked {
		fates[i] = m.fate(ctx, w)
	}
	return json.Marshal(fates)
}

func (m *Manager) fate(ctx context.Context, w willAsked) string {
	if w.Created < m.started.UnixMilli() {
		return willLeft // by an earlier process
	}
	if m.o.Cluster.Fenced() {
		return willUnknown
	}
	unlock, err := m.lock(ctx, w.Client) // a connection that is ending has ended then
	if err != nil {
		return willUnknown
	}
	defer unlock()
	if s := m.session(w.Client); s != nil {
		s.mu.Lock()
		connected := s.conn != nil && s.will != nil && s.will.Message.Created.UnixMilli() == w.Created
		s.mu.Unlock()
		if connected {
			return willUnknown // the message that closes the connection is on its way
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.undecided[w.Client] > 0:
		return willUnknown
	case m.leftTo[w.Client].created == w.Created:
		return willLeft
	}
	return willDone
}

// leaveWill notes that this node leaves a will to the node that its client has connected to.
func (m *Manager) leaveWill(id string, w *Will) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Sub(m.leftSwept) > inheritMost {
		m.leftSwept = now
		for id, l := range m.leftTo {
			if now.Sub(l.at) > inheritMost {
				delete(m.leftTo, id)
			}
		}
	}
	if _, known := m.leftTo[id]; known || len(m.leftTo) < leftMost {
		m.leftTo[id] = leftWill{w.Message.Created.UnixMilli(), now}
	}
}
