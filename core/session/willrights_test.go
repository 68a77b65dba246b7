package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/packet"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// judge decides which wills may be published and records each question.
type judge struct {
	mu     sync.Mutex
	denies bool
	fails  error
	asked  []string
}

func (j *judge) Authorize(_ context.Context, p *auth.Principal, a auth.Action) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked = append(j.asked, p.Identity()+" "+a.Kind.String()+" "+a.Topic)
	return !j.denies && j.fails == nil, j.fails
}

func (j *judge) set(denies bool, fails error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.denies, j.fails = denies, fails
}

func (j *judge) questions() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.asked)
}

// leftBy returns an option that connects the client with the given identity, which the authority judges its will by.
func leftBy(t *testing.T, identity string) func(*Request) {
	t.Helper()
	a := auth.New(auth.Options{Client: admitAll{}, PluginName: func() string { return "auth-file" }})
	return func(r *Request) {
		p, err := a.Authenticate(context.Background(), auth.Request{ClientID: r.ClientID, Username: identity, HasUsername: true})
		require.NoError(t, err)
		r.Will.By = p
		r.Owner = meta.Owner{Name: p.Name(), Plugin: p.AdmittedBy()}
	}
}

func withJudge(j *judge) func(*node) { return func(n *node) { n.options.Judge = j } }

func TestAWillIsNotPublishedOnceItsClientMayNotPublishIt(t *testing.T) {
	j := &judge{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		leave := func(id string, delay time.Duration) *client {
			return n.connect(id, durable, will("will of "+id, delay), leftBy(t, "ops"))
		}
		leave("allowed", 0).drop()
		watch.gets("will of allowed")
		require.Equal(t, []string{"ops publish wills/allowed"}, j.asked)

		now, delayed, cleaned := leave("now", 0), leave("delayed", time.Minute), leave("cleaned", time.Minute)
		delayed.drop()
		cleaned.drop()
		j.set(true, nil)
		now.drop()
		n.connect("cleaned", clean, func(r *Request) { r.Owner = meta.Owner{Name: "ops", Plugin: "auth-file"} }) // which makes the will due
		pass(2 * time.Minute)
		for _, id := range []string{"now", "delayed", "cleaned"} {
			n.eventually("the record of "+id+" is removed", func() bool {
				w, err := n.meta.LoadWill(context.Background(), id)
				return err == nil && w == nil
			})
		}
		require.Zero(t, watch.waiting())
	}, withJudge(j))
}

func TestTheWillOfABannedClientIsNotPublished(t *testing.T) {
	var mu sync.Mutex
	bans := map[string]bool{}
	ban := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		bans[name] = true
	}
	inVirtualTime(t, func(t *testing.T, n *node) {
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		leave := func(id, user string, delay time.Duration) *client {
			return n.connect(id, durable, will("will of "+id, delay), leftBy(t, user))
		}
		now, later, ofUser := leave("now", "u", 0), leave("later", "u", time.Minute), leave("of-user", "evil", time.Minute)
		later.drop()
		ofUser.drop()
		anonymous := n.connect("anonymous", durable, will("will of anonymous", 0))
		for _, name := range []string{"now", "later", "evil", "anonymous"} {
			ban(name)
		}
		now.drop()
		anonymous.drop()
		pass(2 * time.Minute)
		for _, id := range []string{"now", "later", "of-user", "anonymous"} {
			n.eventually("the record of "+id+" is removed", func() bool {
				w, err := n.meta.LoadWill(context.Background(), id)
				return err == nil && w == nil
			})
		}
		leave("other", "u", 0).drop()
		watch.gets("will of other")
		require.Zero(t, watch.waiting())
	}, withJudge(&judge{}), func(n *node) {
		n.options.Banned = func(id string, by *auth.Principal) bool {
			mu.Lock()
			defer mu.Unlock()
			return bans[id] || by != nil && bans[by.Username()]
		}
	})
}

func TestAWillThatAnotherProcessPublishesIsJudgedByItsRecord(t *testing.T) {
	j := &judge{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		for _, denied := range []bool{false, true} {
			j.set(false, nil)
			n.connect("c", durable, will("left", 0), leftBy(t, "ops"))
			pass(time.Second) // so that the will is older than the next start
			n.crash()
			watch := n.connect("watch")
			watch.subscribe(1, "wills/#")
			asked := j.questions()
			j.set(denied, nil)
			pass(time.Minute) // longer than the grace period
			n.eventually("it is judged", func() bool { return j.questions() > asked })
			require.Equal(t, "ops publish wills/c", j.asked[len(j.asked)-1])
			n.eventually("it is done with", func() bool {
				w, err := n.meta.LoadWill(context.Background(), "c")
				return err == nil && w == nil
			})
			if denied {
				require.Zero(t, watch.waiting())
			} else {
				watch.gets("left")
			}
			watch.leave()
		}
	}, withJudge(j))
}

func TestAWillWaitsForItsJudgeWithinABound(t *testing.T) {
	j := &judge{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		down := errors.New("the plugin is away")
		leave := func(id string) { n.connect(id, durable, will("will of "+id, 0), leftBy(t, "ops")).drop() }
		j.set(false, down)
		leave("a")
		pass(30 * time.Second)
		require.Zero(t, watch.waiting())
		j.set(false, nil)
		watch.gets("will of a")

		j.set(false, down)
		leave("b")
		j.set(true, down)
		pass(time.Minute)
		j.set(true, nil)
		n.eventually("b's will is denied", func() bool {
			w, err := n.meta.LoadWill(context.Background(), "b")
			return err == nil && w == nil
		})

		j.set(false, down)
		leave("c")
		pass(willPatience + time.Minute)
		w, err := n.meta.LoadWill(context.Background(), "c")
		require.NoError(t, err)
		require.NotNil(t, w, "given up for now, and kept")
		asked := j.questions()
		pass(time.Minute)
		require.Equal(t, asked, j.questions())

		leave("d")
		n.eventually("it is asked about d", func() bool { return j.questions() > asked })
		n.connect("d", durable, leftByNobody) // before its will could be judged
		j.set(false, nil)
		pass(time.Minute)
		require.Zero(t, watch.waiting())
	}, withJudge(j))
}

func TestWillsThatWaitInLineAreNotPublishedOnceTheirClientsAreBack(t *testing.T) {
	j := &judge{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		ids := make([]string, 2*willsParallel)
		for i := range ids {
			ids[i] = fmt.Sprint("client", i)
			n.connect(ids[i], durable, will(ids[i], 0), leftBy(t, "ops"))
		}
		pass(time.Second) // a will as recent as the node's start could belong to a new connection
		n.crash()
		j.set(false, errors.New("the plugin is away"))
		pass(time.Minute) // longer than the grace period
		watch := n.connect("watch")
		watch.subscribe(1, "wills/#")
		require.GreaterOrEqual(t, j.questions(), willsParallel, "several are judged at a time")
		for _, id := range ids {
			n.connect(id, durable, leftByNobody).leave() // leaves cleanly, and had no will
		}
		j.set(false, nil)
		pass(5 * time.Minute)
		require.Zero(t, watch.waiting())
	}, withJudge(j))
}

func leftByNobody(r *Request) { r.Owner = meta.Owner{Name: "ops", Plugin: "auth-file"} }

func TestAClientThatAuthenticatedAgainIsJudgedAsWhoItIsNow(t *testing.T) {
	j := &judge{}
	inVirtualTime(t, func(t *testing.T, n *node) {
		c := n.connect("c", durable, will("left", 0), leftBy(t, "ops"))
		r := Request{ClientID: "c", Will: &Will{}}
		leftBy(t, "ops")(&r)
		require.NoError(t, c.s.Renewed(context.Background(), c, r.Owner, r.Will.By))
		require.Same(t, r.Will.By, c.s.will.By)
		c.Close(packet.Success, "")
	}, withJudge(j))
}

// admitAll admits every client.
type admitAll struct{ pluginv1.AuthClient }

func (admitAll) Authenticate(context.Context, *pluginv1.AuthenticateRequest, ...grpc.CallOption) (*pluginv1.AuthenticateResponse, error) {
	return &pluginv1.AuthenticateResponse{}, nil
}
