package performance

import (
	"fmt"
	"slices"
	"strings"
)

// brokerTable writes the cases that several brokers play: a row for each case, a column for each broker that was measured.
func brokerTable(r *Results) string {
	var cases []Kind
	for _, k := range Kinds() {
		if r.find(k.Name) != nil {
			cases = append(cases, k)
		}
	}
	if len(cases) == 0 {
		return ""
	}
	brokers := slices.DeleteFunc(slices.Clone(columns), func(name string) bool {
		return !slices.ContainsFunc(cases, func(k Kind) bool { return r.find(k.Name).broker(name) != nil })
	})
	var b strings.Builder
	b.WriteString("| case |")
	for _, name := range brokers {
		fmt.Fprintf(&b, " %s |", withVersion(r, name))
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(brokers)) + "\n")
	for _, k := range cases {
		c := r.find(k.Name)
		fmt.Fprintf(&b, "| `%s`: %s |", k.Name, k.Title)
		for _, name := range brokers {
			fmt.Fprintf(&b, " %s |", cell(k, c, name))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// cell writes a broker's medians in a case, each with its ratio to mosquitto.
func cell(k Kind, c *Case, name string) string {
	own := c.broker(name)
	if own == nil {
		return ""
	}
	var parts []string
	for _, f := range k.figures {
		part := f.write(own.median(f.of))
		if ratio, ok := own.ratio(c.broker(Mosquitto), f.of); ok && name != Mosquitto {
			part += fmt.Sprintf(" (%.2f)", ratio)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// withVersion adds the version that was measured; of several, each.
func withVersion(r *Results, name string) string {
	var versions []string
	for i := range r.Cases {
		if b := r.Cases[i].broker(name); b != nil && b.Version != "" && !slices.Contains(versions, b.Version) {
			versions = append(versions, b.Version)
		}
	}
	if len(versions) == 0 {
		return name
	}
	return name + " " + list(versions)
}

// Prefixes of the names of cases that only the gateway plays, and the names of those who do.
const (
	LocalCase    = "local: "
	RocketMQCase = "rocketmq: "
	OnLocal      = "lmqgate"
	OnRocketMQ   = "lmqgate on RocketMQ"
	BareProducer = "bare producer"
)

// loadTable writes the gateway's cases of a prefix, with the bare producer beside them where it was measured.
func loadTable(r *Results, prefix, own string) string {
	var b strings.Builder
	for i := range r.Cases {
		c := &r.Cases[i]
		name, ok := strings.CutPrefix(c.Name, prefix)
		g := c.broker(own)
		if !ok || g == nil {
			continue
		}
		if b.Len() == 0 {
			if prefix == RocketMQCase {
				fmt.Fprintf(&b, "| RocketMQ %s | acked | delivered | p50 | p99 | processor time of gateway, broker | bare producer | ratio of acked |\n"+
					"|---|---|---|---|---|---|---|---|\n", g.Version)
			} else {
				b.WriteString("| local store, `sync: always` | acked | delivered | p50 | p99 |\n|---|---|---|---|---|\n")
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |", name, perSecond(g.median(acked)), perSecond(g.median(rate)), milliseconds(g.median(p50)),
			milliseconds(g.median(p99)))
		if prefix == RocketMQCase {
			fmt.Fprintf(&b, " %s, %s |", micros(g.median(func(r Round) float64 { return r.GatewayMicros })),
				micros(g.median(func(r Round) float64 { return r.StoreMicros })))
			bare := c.broker(BareProducer)
			if ratio, ok := g.ratio(bare, acked); ok {
				fmt.Fprintf(&b, " %s | %.2f |", perSecond(bare.median(acked)), ratio)
			} else {
				b.WriteString(" | |")
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// circumstances writes when, where and how often the cases that match were measured, a sentence for each different answer.
func circumstances(r *Results, match func(name string) bool) string {
	type group struct {
		names     string
		low, high float64
		first     *Case
	}
	var groups []*group
	for i := range r.Cases {
		c := &r.Cases[i]
		if !match(c.Name) || len(c.Brokers) == 0 {
			continue
		}
		at := slices.IndexFunc(groups, func(g *group) bool {
			return g.first.Date == c.Date && g.first.Machine == c.Machine && len(g.first.Brokers[0].Rounds) == len(c.Brokers[0].Rounds)
		})
		if at < 0 {
			groups = append(groups, &group{names: c.Name, low: c.Load, high: c.Load, first: c})
			continue
		}
		g := groups[at]
		g.names += ", " + c.Name
		g.low, g.high = min(g.low, c.Load), max(g.high, c.Load)
	}
	var b strings.Builder
	for _, g := range groups {
		if len(groups) > 1 {
			fmt.Fprintf(&b, "%s: ", g.names)
		}
		fmt.Fprintf(&b, "%s, %s.\nMedians of %d rounds", g.first.Date, g.first.Machine, len(g.first.Brokers[0].Rounds))
		if g.high > 0 {
			fmt.Fprintf(&b, "; load average before the cases %s", span(g.low, g.high))
		}
		b.WriteString(".\n")
	}
	return b.String()
}

// losses names the brokers that did not deliver what they had acknowledged.
func losses(r *Results) string {
	var out []string
	for _, c := range r.Cases {
		for _, b := range c.Brokers {
			var n int64
			for _, round := range b.Rounds {
				n += round.Missing
			}
			if n > 0 {
				out = append(out, fmt.Sprintf("%s %d in %s", b.Name, n, c.Name))
			}
		}
	}
	if len(out) == 0 {
		return "No acknowledged message was missing in any round.\n"
	}
	return "Acknowledged messages that did not arrive: " + list(out) + ".\n"
}
