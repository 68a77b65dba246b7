package performance

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

// measured are results of rounds whose medians are easy to see.
func measured() *Results {
	rounds := func(of func(v float64) Round, values ...float64) (out []Round) {
		for _, v := range values {
			out = append(out, of(v))
		}
		return out
	}
	perSecond := func(v float64) Round { return Round{Acked: v, Rate: v} }
	millis := func(v float64) Round { return Round{P50: v, P99: 10 * v} }
	return &Results{Cases: []Case{
		{Name: "p2p", Date: "2026-01-02", Machine: "2 cores", Load: 1.2, Brokers: []Broker{
			{Name: Lmqgate, Rounds: rounds(perSecond, 20_000, 44_000, 36_000)},
			{Name: Mosquitto, Version: "2.0.11", Rounds: rounds(perSecond, 20_000, 20_000, 30_000)},
		}},
		{Name: "latency", Date: "2026-01-02", Machine: "2 cores", Load: 3.8, Brokers: []Broker{
			{Name: Mosquitto, Version: "2.0.11", Rounds: rounds(millis, 0.2, 0.4, 0.3)},
			{Name: NATS, Version: "2.15.2", Rounds: rounds(millis, 0.6, 0.6, 0.6)},
			{Name: Lmqgate, Rounds: rounds(millis, 0.3, 0.4, 0.3)},
		}},
		{Name: RocketMQCase + "1 publisher", Date: "2026-01-03", Machine: "4 cores", Brokers: []Broker{
			{Name: OnRocketMQ, Version: "5.4.0", Rounds: []Round{{Acked: 800, Rate: 790, P50: 0.2, P99: 12, GatewayMicros: 20, StoreMicros: 30.4, Missing: 2}}},
			{Name: BareProducer, Rounds: []Round{{Acked: 1000}}},
		}},
		{Name: RocketMQCase + "slowly", Date: "2026-01-03", Machine: "4 cores", Brokers: []Broker{
			{Name: OnRocketMQ, Version: "5.4.0", Rounds: []Round{{Acked: 202, Rate: 200, P50: 0.2, P99: 1.25, GatewayMicros: 21, StoreMicros: 32}}},
		}},
	}}
}

const brokersGolden = "| case | mosquitto 2.0.11 | NATS 2.15.2 | lmqgate, `sync: 1s` |\n" +
	"|---|---|---|---|\n" +
	"| `p2p`: one publisher to one subscriber, 256 in flight | 20.0k/s |  | 36.0k/s (1.20) |\n" +
	"| `latency`: 200 messages a second, from PUBLISH to delivery | 0.30 ms, 3.0 ms | 0.60 ms (2.00), 6.0 ms (2.00) | 0.30 ms (1.00), 3.0 ms (1.00) |\n"

const rocketmqGolden = "| RocketMQ 5.4.0 | acked | delivered | p50 | p99 | processor time of gateway, broker | bare producer | ratio of acked |\n" +
	"|---|---|---|---|---|---|---|---|\n" +
	"| 1 publisher | 800/s | 790/s | 0.20 ms | 12 ms | 20 µs, 30 µs | 1.00k/s | 0.80 |\n" +
	"| slowly | 202/s | 200/s | 0.20 ms | 1.2 ms | 21 µs, 32 µs | | |\n"

func TestTablesHaveMediansAndRatiosOfTheSameRounds(t *testing.T) {
	r := measured()
	require.Equal(t, brokersGolden, brokerTable(r))
	require.Equal(t, rocketmqGolden, loadTable(r, RocketMQCase, OnRocketMQ))
	require.Empty(t, loadTable(r, LocalCase, OnLocal))
	require.Empty(t, brokerTable(&Results{}))
}

func TestThePageSaysWhereAndWhenEachCaseWasMeasured(t *testing.T) {
	r := measured()
	all := func(string) bool { return true }
	require.Equal(t, "p2p, latency: 2026-01-02, 2 cores.\nMedians of 3 rounds; load average before the cases 1 to 4.\n"+
		"rocketmq: 1 publisher, rocketmq: slowly: 2026-01-03, 4 cores.\nMedians of 1 rounds.\n", circumstances(r, all))
	require.Equal(t, "Acknowledged messages that did not arrive: lmqgate on RocketMQ 2 in rocketmq: 1 publisher.\n", losses(r))
	require.Equal(t, "No acknowledged message was missing in any round.\n", losses(&Results{Cases: r.Cases[:1]}))
}

// widths returns the lengths of a plot's bars, and fails if it is no XML.
func widths(t *testing.T, svg string) (out []float64) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		require.NoError(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			for _, a := range e.Attr {
				if v, err := strconv.ParseFloat(a.Value, 64); a.Name.Local == "width" && err == nil {
					out = append(out, v)
				}
			}
		}
	}
}

func TestBarsAreAsLongAsTheirFigures(t *testing.T) {
	panels := panelsOf(measured(), "throughput")
	require.Len(t, panels, 1)
	svg := drawPlot(panels)
	require.Equal(t, []float64{244.4, 440}, widths(t, svg)) // 20,000 and 36,000
	require.Contains(t, svg, ">36.0k/s<")
	require.Contains(t, svg, ">lmqgate, sync: 1s<")
	require.Len(t, widths(t, drawPlot(panelsOf(measured(), "latency"))), 6)
	require.Len(t, widths(t, drawPlot(panelsOf(measured(), "rocketmq"))), 2)
	require.Equal(t, []float64{1}, widths(t, drawPlot([]panel{{title: "a < b & c", bars: []bar{{label: "<none>"}}}})))
}

func TestOnlyThePartBetweenTheMarksIsWritten(t *testing.T) {
	page, err := replacePart("before\n"+beginMark+"\nold\n"+endMark+"\nafter\n", "new\n")
	require.NoError(t, err)
	require.Equal(t, "before\n"+beginMark+"\nnew\n\n"+endMark+"\nafter\n", page)
	again, err := replacePart(page, "new\n")
	require.NoError(t, err)
	require.Equal(t, page, again)
	_, err = replacePart("no marks\n", "new\n")
	require.ErrorContains(t, err, "lacks the lines")
}

func TestARunReplacesTheCasesThatItMeasured(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "performance")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(dir+".md", []byte(beginMark+"\n\n"+endMark+"\n"), 0o600))
	r, err := Load(dir)
	require.NoError(t, err)
	require.Empty(t, r.Cases)
	r.Put(measured().Cases[0])
	r.Put(measured().Cases[1])
	replaced := measured().Cases[0]
	replaced.Date = "2026-02-03"
	r.Put(replaced)
	require.NoError(t, Write(dir, r))
	again, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, r, again)
	require.Len(t, again.Cases, 2)
	require.Equal(t, "2026-02-03", again.Cases[0].Date)
	page, err := os.ReadFile(dir + ".md")
	require.NoError(t, err)
	require.Contains(t, string(page), brokersGolden)
	require.Contains(t, string(page), "](performance/throughput.svg)")
	require.FileExists(t, filepath.Join(dir, "throughput.svg"))
	require.NoFileExists(t, filepath.Join(dir, "rocketmq.svg"))
}

func TestThePageIsInStepWithTheResults(t *testing.T) {
	dir := filepath.Join("..", "performance")
	r, err := Load(dir)
	require.NoError(t, err)
	files, err := build(dir, r)
	require.NoError(t, err)
	for name, want := range files {
		got, err := os.ReadFile(name)
		require.NoError(t, err)
		require.True(t, want == string(got), "%s is out of step with results.json; make bench writes it", name)
	}
}

func TestEachKindPlaysAScenario(t *testing.T) {
	for _, k := range Kinds() {
		require.True(t, slices.ContainsFunc(plots, func(p struct{ name, alt string }) bool { return p.name == k.plot }), k.Name)
		if k.Name == "idle" {
			continue
		}
		_, ok := mqttload.Find(k.Scenario)
		require.True(t, ok, k.Name)
		require.GreaterOrEqual(t, k.PlanFor(2*time.Second).Duration, 2*time.Second, k.Name)
	}
}

var (
	benchCommand = regexp.MustCompile("lmqgate bench((?: [a-z0-9]+)+)|`bench ([a-z0-9]+)`")
	benchTarget  = regexp.MustCompile(`(?:SCENARIOS=|-scenarios )([a-z0-9,]+)`)
)

func TestScenariosThatPagesNameExist(t *testing.T) {
	pages, err := filepath.Glob("../*.md")
	require.NoError(t, err)
	seen := 0
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, m := range benchCommand.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.FieldsSeq(m[1] + m[2]) {
				_, ok := mqttload.Find(name)
				require.True(t, ok, "%s names the scenario %q of lmqgate bench", page, name)
				seen++
			}
		}
		for _, m := range benchTarget.FindAllStringSubmatch(string(text), -1) {
			for name := range strings.SplitSeq(m[1], ",") {
				_, ok := FindKind(name)
				require.True(t, ok || name == "local" || name == "rocketmq", "%s names the scenario %q of make bench", page, name)
				seen++
			}
		}
	}
	require.Greater(t, seen, 5)
}
