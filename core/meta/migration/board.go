package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Namespace holds the plan, the answers and the decision. It is not migrated.
const Namespace = "lmqgate.migration"

// Lease is how long a node may acknowledge writes after it last began to read the plan. It must be the same on all nodes.
const Lease = 5 * time.Second

// Keys of Namespace. keyPlan is on the source, keyArrival on the target, and decisions are on the arbiter.
const (
	keyPlan     = "plan"
	keyArrival  = "arrival"
	keyNode     = "node/"
	keyDecision = "decision/"
)

const recordVersion = 1

// callTimeout bounds one call of a plugin.
const callTimeout = 3 * time.Second

// MaxID bounds the length of a plan's id, in bytes: it is in the keys and values that nodes write. The command's have 26.
const MaxID = 128

// Phase is the progress of a plan.
type Phase string

// The phases; see the package comment.
const (
	Prepare Phase = "prepare"
	Fence   Phase = "fence"
	Moved   Phase = "moved"
	Aborted Phase = "aborted"
)

// Plan is what the command asks of the nodes.
type Plan struct {
	V     int    `json:"v"`
	ID    string `json:"id"`
	Phase Phase  `json:"phase"`
	// Plugin is the name of the target's plugin.
	Plugin string `json:"plugin"`
	// Hold is how long nodes hold writes before they ask the arbiter to abort, in milliseconds.
	Hold int64 `json:"hold_ms"`
	// AtSource says that the source is the arbiter; otherwise the target is.
	AtSource bool   `json:"arbiter_at_source"`
	Reason   string `json:"reason,omitempty"`
}

// MaxHold bounds Hold: a hand-written plan must not hold writes for days.
const MaxHold = 10 * time.Minute

// HoldTime returns Hold as a duration: at least a second, so that no plan makes nodes give up at once, and at most MaxHold.
func (p *Plan) HoldTime() time.Duration {
	return time.Duration(min(max(p.Hold, time.Second.Milliseconds()), MaxHold.Milliseconds())) * time.Millisecond
}

// State is the progress of a node.
type State string

// The states; see the package comment. Failed has a reason.
const (
	Seen   State = "seen"
	Ready  State = "ready"
	Held   State = "held"
	Away   State = "moved"
	Failed State = "failed"
)

// Answer is a node's answer to a plan.
type Answer struct {
	V     int    `json:"v"`
	ID    string `json:"id"` // of the plan
	State State  `json:"state"`
	// Instance identifies the node's process.
	Instance string `json:"instance"`
	Reason   string `json:"reason,omitempty"`
}

// Outcome is a decision of the arbiter.
type Outcome string

// The outcomes. Undecided stands for no decision.
const (
	Undecided Outcome = ""
	Move      Outcome = "moved"
	Stay      Outcome = "aborted"
)

// Board accesses the migration namespace of a backend.
type Board struct{ Client pluginv1.MetaClient }

type decision struct {
	V       int     `json:"v"`
	Outcome Outcome `json:"outcome"`
}

// Mark is what a migration leaves on its target.
type Mark struct {
	V int `json:"v"`
	// ID is the id of the plan that last copied to the target.
	ID string `json:"id"`
	// Done is true once the cluster has moved. Until then the content of the target is an unfinished copy.
	Done bool `json:"done"`
}

// Plan reads the plan; nil if there is none.
func (b Board) Plan(ctx context.Context) (*Plan, error) {
	var p Plan
	found, err := b.get(ctx, keyPlan, &p)
	if err != nil || !found {
		return nil, err
	}
	return &p, nil
}

// SetPlan writes the plan.
func (b Board) SetPlan(ctx context.Context, p Plan) error {
	p.V = recordVersion
	return b.put(ctx, keyPlan, &p)
}

// RemovePlan removes the plan.
func (b Board) RemovePlan(ctx context.Context) error { return b.remove(ctx, keyPlan) }

// Answers reads the answers of the nodes to a plan, by node.
func (b Board) Answers(ctx context.Context, id string) (map[string]Answer, error) {
	answers, err := b.AllAnswers(ctx)
	maps.DeleteFunc(answers, func(_ string, a Answer) bool { return a.ID != id })
	return answers, err
}

// AllAnswers reads the latest answer of each node, to whatever plan.
func (b Board) AllAnswers(ctx context.Context) (map[string]Answer, error) {
	entries, err := b.list(ctx, keyNode)
	if err != nil {
		return nil, err
	}
	answers := map[string]Answer{}
	for key, value := range entries {
		var a Answer
		if err := decode(key, value, &a.V, &a); err != nil {
			return nil, err
		}
		answers[strings.TrimPrefix(key, keyNode)] = a
	}
	return answers, nil
}

// SetAnswer writes a node's answer.
func (b Board) SetAnswer(ctx context.Context, node string, a Answer) error {
	a.V = recordVersion
	return b.put(ctx, keyNode+node, &a)
}

// Arrival reads the mark of a target; the zero value if there is none.
func (b Board) Arrival(ctx context.Context) (Mark, error) {
	var a Mark
	_, err := b.get(ctx, keyArrival, &a)
	return a, err
}

// SetArrival marks a target.
func (b Board) SetArrival(ctx context.Context, a Mark) error {
	a.V = recordVersion
	return b.put(ctx, keyArrival, &a)
}

// Decision reads the arbiter's decision.
func (b Board) Decision(ctx context.Context, id string) (Outcome, error) {
	var d decision
	_, err := b.get(ctx, keyDecision+id, &d)
	return d.Outcome, err
}

// Decide proposes an outcome and returns the decision that stands. After an error it is unknown whether the proposal was recorded.
func (b Board) Decide(ctx context.Context, id string, o Outcome) (Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	value, err := json.Marshal(&decision{recordVersion, o})
	if err != nil {
		return Undecided, err
	}
	resp, err := b.Client.Put(
		ctx,
		&pluginv1.PutRequest{Namespace: Namespace, Key: keyDecision + id, Value: value, Expect: &pluginv1.Expect{}},
	)
	if err != nil {
		return Undecided, failure(err, "write", keyDecision+id)
	}
	if resp.GetDone() {
		return o, nil
	}
	var d decision
	if err := decode(keyDecision+id, resp.GetCurrent().GetValue(), &d.V, &d); err != nil {
		return Undecided, err
	}
	return d.Outcome, nil
}

// Tidy removes what earlier migrations left behind, except the plan and everything of the migration with this id.
func (b Board) Tidy(ctx context.Context, id string) error {
	entries, err := b.list(ctx, "")
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		var a Answer
		old := strings.HasPrefix(key, keyDecision) && key != keyDecision+id
		if strings.HasPrefix(key, keyNode) {
			old = json.Unmarshal(entries[key], &a) != nil || a.ID != id
		}
		if old {
			if err := b.remove(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// ErrUnreadable says that a value is not JSON of the expected form. No release of lmqgate has written it.
var ErrUnreadable = errors.New("is not of lmqgate's making")

func (b Board) get(ctx context.Context, key string, record any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := b.Client.Get(ctx, &pluginv1.GetRequest{Namespace: Namespace, Key: key})
	if err != nil {
		return false, failure(err, "read", key)
	}
	if !resp.GetFound() {
		return false, nil
	}
	var h struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(resp.GetEntry().GetValue(), &h); err != nil {
		return false, unreadable(key, err)
	}
	if h.V > recordVersion { // its form may be another one
		return false, newer(key, h.V)
	}
	return true, decode(key, resp.GetEntry().GetValue(), &h.V, record)
}

// decode decodes a record. v must point to the record's version.
func decode(key string, value []byte, v *int, record any) error {
	if err := json.Unmarshal(value, record); err != nil {
		return unreadable(key, err)
	}
	if *v > recordVersion {
		return newer(key, *v)
	}
	return nil
}

func newer(key string, v int) error {
	return fmt.Errorf("%s %q has version %d, this lmqgate reads up to %d; use the newer one", Namespace, key, v, recordVersion)
}

// failure returns an error that says what failed, with the plugin's status code.
func failure(err error, what, key string) error {
	s := status.Convert(err)
	return status.Errorf(s.Code(), "%s %s %q: %s", what, Namespace, key, s.Message())
}

func unreadable(key string, err error) error {
	return fmt.Errorf("%s %q %w (%w); remove the key", Namespace, key, ErrUnreadable, err)
}

func (b Board) put(ctx context.Context, key string, record any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	value, err := json.Marshal(record)
	if err != nil {
		return err
	}
	if _, err := b.Client.Put(ctx, &pluginv1.PutRequest{Namespace: Namespace, Key: key, Value: value}); err != nil {
		return failure(err, "write", key)
	}
	return nil
}

func (b Board) remove(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := b.Client.Delete(ctx, &pluginv1.DeleteRequest{Namespace: Namespace, Key: key}); err != nil {
		return failure(err, "remove", key)
	}
	return nil
}

func (b Board) list(ctx context.Context, prefix string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stream, err := b.Client.List(ctx, &pluginv1.ListRequest{Namespace: Namespace, Prefix: prefix})
	entries := map[string][]byte{}
	for err == nil {
		var page *pluginv1.ListResponse
		if page, err = stream.Recv(); err == nil {
			for _, e := range page.GetEntries() {
				entries[e.GetKey()] = e.GetValue()
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, failure(err, "list", prefix)
	}
	return entries, nil
}
