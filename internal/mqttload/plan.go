package mqttload

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// Target is a broker under test.
type Target struct {
	// Name is its name in reports.
	Name string
	// Dial opens a connection.
	Dial func(ctx context.Context) (net.Conn, error)
	// Login returns the user name and password of a client id; nil: clients are anonymous.
	Login func(clientID string) (username, password string, err error)
	// Version is packet.V311 or packet.V5.
	Version packet.Version
}

// Plan says how much of a scenario's traffic is played. Zero values take the scenario's defaults; see Scenarios.
type Plan struct {
	// Publishers and Subscribers are numbers of clients. In conn and sleep, Publishers is how many clients connect concurrently.
	Publishers, Subscribers int
	// Window is how many messages a publisher has in flight, 1 to 32,767; at QoS 0 it has no effect.
	Window int
	// QoS of publications and subscriptions; negative for the default, 1.
	QoS int
	// Size of a payload in bytes, at least MinSize.
	Size int
	// Warmup is played before Duration and not counted; negative: none.
	Warmup, Duration time.Duration
	// Messages is how many messages are queued for the session of catchup. In scenarios with publishers and subscribers that are online it
	// is how many all publishers together send, instead of for Duration; 0: no such number.
	Messages int
	// Rate bounds the messages per second of all publishers together; 0: as fast as they are acknowledged.
	Rate float64
	// Topic is the first level of all topic names.
	Topic string
}

// MinSize is the smallest payload, in bytes: the size of the stamp.
const MinSize = 20

// Scenario is a traffic pattern.
type Scenario struct {
	// Name is the argument of Find.
	Name string
	// About describes the traffic in one line.
	About string

	defaults Plan
	play     func(*run) error
	topic    func(p *Plan, publisher int) string
	filter   func(p *Plan, subscriber int) string
	// copies returns how many subscribers get each message.
	copies func(p *Plan) int
	// shared says that the subscribers share one subscription, so none of them can expect a publisher's messages in order.
	shared bool
}

func one(*Plan) int { return 1 }

// Scenarios lists the traffic patterns.
func Scenarios() []Scenario {
	own := func(p *Plan, i int) string { return fmt.Sprintf("%s/%d", p.Topic, i) }
	first := func(p *Plan, _ int) string { return p.Topic + "/0" }
	all := func(p *Plan, _ int) string { return p.Topic + "/+" }
	return []Scenario{
		{Name: "p2p", About: "one publisher to one subscriber", play: playFlow, topic: first, filter: first, copies: one,
			defaults: Plan{Publishers: 1, Subscribers: 1, Window: 256}},
		{Name: "pairs", About: "pairs of a publisher and a subscriber, a topic each", play: playFlow, topic: own, filter: own, copies: one,
			defaults: Plan{Publishers: 64, Window: 16}},
		{Name: "fanout", About: "one publisher to many subscribers", play: playFlow, topic: first, filter: first,
			copies: func(p *Plan) int { return p.Subscribers }, defaults: Plan{Publishers: 1, Subscribers: 200, Window: 64}},
		{
			Name:     "fanin",
			About:    "many publishers, a topic each, to one wildcard subscriber",
			play:     playFlow,
			topic:    own,
			filter:   all,
			copies:   one,
			defaults: Plan{Publishers: 200, Subscribers: 1, Window: 16},
		},
		{Name: "sharedsub", About: "many publishers to the members of one shared subscription", play: playFlow, topic: own,
			filter: func(p *Plan, _ int) string { return "$share/bench/" + p.Topic + "/+" }, copies: one, shared: true,
			defaults: Plan{Publishers: 16, Subscribers: 8, Window: 16}},
		{Name: "conn", About: "clients that connect, subscribe to a topic of their own and leave", play: playConnects,
			defaults: Plan{Publishers: 32}},
		{Name: "sleep", About: "new persistent sessions, each with a new filter, whose clients leave", play: playConnects,
			defaults: Plan{Publishers: 32}},
		{Name: "catchup", About: "a persistent session reads what waited for it", play: playCatchUp, topic: own, filter: all, copies: one,
			defaults: Plan{Publishers: 16, Subscribers: 1, Window: 64, Messages: 100_000}},
	}
}

// Find returns a scenario by its name.
func Find(name string) (Scenario, bool) {
	all := Scenarios()
	i := slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })
	if i < 0 {
		return Scenario{}, false
	}
	return all[i], true
}

// fill completes a plan with the scenario's defaults and validates it.
func (s *Scenario) fill(p Plan) (Plan, error) {
	d := s.defaults
	p.Publishers = cmp.Or(p.Publishers, d.Publishers)
	p.Subscribers = cmp.Or(p.Subscribers, d.Subscribers)
	if s.Name == "pairs" {
		p.Subscribers = p.Publishers
	}
	p.Window = cmp.Or(p.Window, d.Window, 1)
	p.Size = cmp.Or(p.Size, 256)
	p.Duration = cmp.Or(p.Duration, 10*time.Second)
	p.Warmup = max(0, cmp.Or(p.Warmup, time.Second))
	p.Messages = cmp.Or(p.Messages, d.Messages)
	p.Topic = cmp.Or(p.Topic, "bench")
	if p.QoS < 0 {
		p.QoS = 1
	}
	switch {
	case p.Publishers < 1 || p.Subscribers < 0 || p.Publishers > maxClients || p.Subscribers > maxClients:
		return p, fmt.Errorf("publishers and subscribers go from 1 to %d", maxClients)
	case p.Window < 1 || p.Window > maxWindow:
		return p, fmt.Errorf("the window goes from 1 to %d messages", maxWindow)
	case p.QoS > 2:
		return p, fmt.Errorf("QoS is 0, 1 or 2, not %d", p.QoS)
	case p.Size < MinSize || p.Size > maxSize:
		return p, fmt.Errorf("a payload has from %d to %d bytes", MinSize, maxSize)
	case p.Duration < 0 || p.Rate < 0 || p.Messages < 0:
		return p, errors.New("duration, rate and number of messages are not negative")
	}
	return p, nil
}

const (
	maxClients = 100_000
	maxWindow  = 32_767
	maxSize    = 16 << 20
)
