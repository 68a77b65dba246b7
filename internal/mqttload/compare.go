package mqttload

import (
	"context"
	"fmt"
	"slices"
)

// Comparison is the result of a plan that alternated between two targets.
type Comparison struct {
	Scenario string    `json:"scenario"`
	A        []*Result `json:"a"`
	B        []*Result `json:"b"`
	// Rate is the median over the rounds of A's rate divided by B's; over 1: A is faster.
	Rate float64 `json:"rate_ratio"`
	// P50 and P99 are the same ratio for delivery latencies; under 1: A is faster. 0: not measured.
	P50 float64 `json:"p50_ratio,omitempty"`
	P99 float64 `json:"p99_ratio,omitempty"`
}

// Compare plays a scenario against a and b alternately, for a number of rounds.
func Compare(
	ctx context.Context,
	s Scenario,
	p Plan,
	a, b *Target,
	rounds int,
	progress func(target string, round int, p Progress),
) (*Comparison, error) {
	out := &Comparison{Scenario: s.Name}
	var rates, p50s, p99s []float64
	for round := range rounds {
		var pair [2]*Result
		for i, t := range []*Target{a, b} {
			var tell func(Progress)
			if progress != nil {
				tell = func(pr Progress) { progress(t.Name, round+1, pr) }
			}
			r, err := Run(ctx, s, p, t, tell)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.Name, err)
			}
			pair[i] = r
		}
		out.A, out.B = append(out.A, pair[0]), append(out.B, pair[1])
		rates = append(rates, ratio(pair[0].Rate, pair[1].Rate))
		if pair[0].Delivery != nil && pair[1].Delivery != nil {
			p50s = append(p50s, ratio(pair[0].Delivery.P50, pair[1].Delivery.P50))
			p99s = append(p99s, ratio(pair[0].Delivery.P99, pair[1].Delivery.P99))
		}
	}
	out.Rate, out.P50, out.P99 = Median(rates), Median(p50s), Median(p99s)
	return out, nil
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// Median returns the median of the values; 0 if there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
