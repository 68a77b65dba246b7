package performance

import (
	"slices"
	"time"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

// Kind describes a case that is played on several brokers.
type Kind struct {
	// Name is its name in results.json and in the option -scenarios of test/bench.
	Name string
	// Title describes it in the tables.
	Title string
	// Scenario is the scenario of mqttload that is played, with Plan; empty for idle, which only holds connections.
	Scenario string
	Plan     mqttload.Plan
	// Times makes a round longer than others, for percentiles of few messages; 0: as long.
	Times int
	// OneSync says that how often the local store syncs does not matter, so lmqgate is measured once.
	OneSync bool

	figures []figure
	plot    string // the file that shows it, without .svg
}

// figure is one number of a case.
type figure struct {
	name  string // behind the title of a panel; empty if the case has one figure
	of    func(Round) float64
	write func(float64) string
}

// Names of brokers.
const (
	Mosquitto = "mosquitto" // what the others are compared with
	Mochi     = "mochi"
	NATS      = "NATS"
	HiveMQ    = "HiveMQ CE"
	Lmqgate   = "lmqgate, `sync: 1s`"
	LmqSynced = "lmqgate, `sync: always`"
)

// columns is the order of the brokers in tables and plots.
var columns = []string{Mosquitto, Mochi, NATS, HiveMQ, Lmqgate, LmqSynced}

var (
	messages = []figure{{of: rate, write: perSecond}}
	waits    = []figure{{name: "p50", of: p50, write: milliseconds}, {name: "p99", of: p99, write: milliseconds}}
)

// Kinds lists the cases that are played on several brokers.
func Kinds() []Kind {
	return []Kind{
		{Name: "p2p", Title: "one publisher to one subscriber, 256 in flight", Scenario: "p2p", Plan: mqttload.Plan{Window: 256},
			figures: messages, plot: "throughput"},
		{Name: "pairs", Title: "64 pairs of a publisher and a subscriber, 16 in flight each", Scenario: "pairs",
			Plan: mqttload.Plan{Publishers: 64, Window: 16}, figures: messages, plot: "throughput"},
		{Name: "fanout", Title: "one publisher to 200 subscribers", Scenario: "fanout", Plan: mqttload.Plan{Subscribers: 200},
			figures: messages, plot: "throughput"},
		{Name: "fanin", Title: "200 publishers that have just connected send 100 each, to one wildcard", Scenario: "fanin",
			Plan: mqttload.Plan{Publishers: 200, Window: 16, Messages: 20_000}, figures: messages, plot: "throughput"},
		{Name: "latency", Title: "200 messages a second, from PUBLISH to delivery", Scenario: "pairs",
			Plan: mqttload.Plan{Publishers: 10, Rate: 200}, Times: 3, figures: waits, plot: "latency"},
		{Name: "conn", Title: "connects a second, each with one SUBSCRIBE", Scenario: "conn", Plan: mqttload.Plan{Warmup: -1},
			OneSync: true, figures: messages, plot: "connections"},
		{Name: "sleep", Title: "new persistent sessions a second, each with a new filter, 300 clients side by side", Scenario: "sleep",
			Plan: mqttload.Plan{Publishers: 300, Warmup: -1}, OneSync: true, figures: messages, plot: "connections"},
		{Name: "idle", Title: "resident memory of an idle connection with one subscription", OneSync: true,
			figures: []figure{{of: kib, write: kibibytes}}, plot: "connections"},
	}
}

// FindKind returns the kind of a name.
func FindKind(name string) (Kind, bool) {
	all := Kinds()
	i := slices.IndexFunc(all, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return all[i], true
}

// PlanFor returns the plan of a round of some length.
func (k Kind) PlanFor(length time.Duration) mqttload.Plan {
	p := k.Plan
	p.QoS, p.Duration = 1, length*time.Duration(max(1, k.Times))
	if p.Warmup == 0 {
		p.Warmup = length / 4
	}
	return p
}

// plots lists the files of plots, each with what a screen reader says of it.
var plots = []struct{ name, alt string }{
	{"throughput", "Bars: messages delivered a second by each broker, for the cases p2p, pairs, fanout and fanin. The table has the numbers."},
	{"latency", "Bars: milliseconds from PUBLISH to delivery at 200 messages a second, p50 and p99, by broker. The table has the numbers."},
	{"connections", "Bars: connects a second, new persistent sessions a second, and KiB for each idle connection, by broker. The table has the numbers."},
	{"rocketmq", "Bars: messages a second of lmqgate on RocketMQ and of RocketMQ's bare producer. The table has the numbers."},
}
