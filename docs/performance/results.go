package performance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/lmqgate/lmqgate/internal/mqttload"
)

// Results is the content of results.json.
type Results struct {
	Cases []Case `json:"cases"`
}

// Case is one measured case.
type Case struct {
	// Name is that of a Kind.
	Name string `json:"name"`
	// Date is the day of the run, such as 2026-11-29.
	Date string `json:"date"`
	// Machine describes the machine in words.
	Machine string `json:"machine"`
	// Load is the machine's load average over a minute before the case began; 0: not known.
	Load float64 `json:"load,omitempty"`
	// Seconds is the length of a round of one broker.
	Seconds float64  `json:"seconds,omitempty"`
	Brokers []Broker `json:"brokers"`
}

// Broker is what one broker did, round by round.
type Broker struct {
	Name    string  `json:"name"`
	Version string  `json:"version,omitempty"`
	Rounds  []Round `json:"rounds"`
}

// Round is one round. What a case does not measure is 0.
type Round struct {
	// Acked and Rate are messages per second, acknowledged and delivered; in conn Rate is connections per second.
	Acked float64 `json:"acked,omitempty"`
	Rate  float64 `json:"rate,omitempty"`
	// P50 and P99 are delivery latencies in milliseconds.
	P50 float64 `json:"p50_ms,omitempty"`
	P99 float64 `json:"p99_ms,omitempty"`
	// KiB is the resident memory of an idle connection.
	KiB float64 `json:"kib,omitempty"`
	// GatewayMicros and StoreMicros are the processor time of a message, in microseconds, in the gateway and in the RocketMQ broker.
	GatewayMicros float64 `json:"gateway_us,omitempty"`
	StoreMicros   float64 `json:"store_us,omitempty"`
	// Missing is acknowledged messages that were not delivered.
	Missing int64 `json:"missing,omitempty"`
}

// Load reads results.json of this directory; without the file there are no results.
func Load(dir string) (*Results, error) {
	b, err := os.ReadFile(filepath.Join(dir, resultsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return &Results{Cases: []Case{}}, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Results{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", resultsFile, err)
	}
	return r, nil
}

const resultsFile = "results.json"

// Put adds a case, or replaces the one of its name.
func (r *Results) Put(c Case) {
	i := slices.IndexFunc(r.Cases, func(old Case) bool { return old.Name == c.Name })
	if i < 0 {
		r.Cases = append(r.Cases, c)
		return
	}
	r.Cases[i] = c
}

// find returns the case of a name; nil if it was not measured.
func (r *Results) find(name string) *Case {
	for i := range r.Cases {
		if r.Cases[i].Name == name {
			return &r.Cases[i]
		}
	}
	return nil
}

// broker returns a broker's part of the case; nil if it was left out.
func (c *Case) broker(name string) *Broker {
	if c == nil {
		return nil
	}
	for i := range c.Brokers {
		if c.Brokers[i].Name == name {
			return &c.Brokers[i]
		}
	}
	return nil
}

// median returns the median of a figure over the rounds.
func (b *Broker) median(of func(Round) float64) float64 {
	var all []float64
	for _, r := range b.Rounds {
		all = append(all, of(r))
	}
	return mqttload.Median(all)
}

// ratio returns the median over the rounds of a figure divided by that of base in the same round; ok is false if there is no such round.
func (b *Broker) ratio(base *Broker, of func(Round) float64) (ratio float64, ok bool) {
	if base == nil {
		return 0, false
	}
	var all []float64
	for i := range min(len(b.Rounds), len(base.Rounds)) {
		if below := of(base.Rounds[i]); below > 0 {
			all = append(all, of(b.Rounds[i])/below)
		}
	}
	return mqttload.Median(all), len(all) > 0
}

func rate(r Round) float64  { return r.Rate }
func acked(r Round) float64 { return r.Acked }
func p50(r Round) float64   { return r.P50 }
func p99(r Round) float64   { return r.P99 }
func kib(r Round) float64   { return r.KiB }
