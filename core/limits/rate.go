package limits

import (
	"net/netip"
	"sync"
	"time"
)

// Rate is an average rate per second; 0: no limit. What was not used in the last seconds may be used at once.
type Rate float64

// burst is how many seconds' worth of a Rate may be used at once.
const burst = 2

// Bucket enforces a Rate. It allows debt, which shrinks with time: whoever takes more than there is waits until the debt is paid. A nil
// Bucket has no limit.
type Bucket struct {
	mu   sync.Mutex
	rate Rate
	left float64 // negative: a debt
	at   time.Time
}

// NewBucket makes a full Bucket; nil if there is no limit.
func NewBucket(r Rate) *Bucket {
	if r <= 0 {
		return nil
	}
	b := &Bucket{rate: r, at: time.Now()}
	b.left = b.most()
	return b
}

// Take takes n and returns how long to wait before continuing.
func (b *Bucket) Take(n float64) time.Duration {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(time.Now())
	b.left -= n
	return b.wait()
}

// most returns how much may be used at once, at least one.
func (b *Bucket) most() float64 { return max(1, float64(b.rate)*burst) }

// Give gives back n that were taken but not used.
func (b *Bucket) Give(n float64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+n, b.most())
}

// Try takes n if that much is available; otherwise it returns how long that takes.
func (b *Bucket) Try(n float64) (wait time.Duration) {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(time.Now())
	if missing := n - b.left; missing > 0 {
		return time.Duration(missing / float64(b.rate) * float64(time.Second))
	}
	b.left -= n
	return 0
}

// Wait returns how long to wait before continuing.
func (b *Bucket) Wait() time.Duration { return b.Take(0) }

// Full reports whether nothing was taken recently.
func (b *Bucket) Full() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(time.Now())
	return b.left >= b.most()
}

func (b *Bucket) refill(now time.Time) {
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.left = min(b.left+passed*float64(b.rate), b.most())
	}
	b.at = now
}

func (b *Bucket) wait() time.Duration {
	if b.left >= 0 {
		return 0
	}
	return time.Duration(-b.left / float64(b.rate) * float64(time.Second))
}

// Buckets enforces a Rate for each address, and as many times more as its share for each network around it; see NetworksOf. It remembers a
// bounded number of addresses and networks, those that have used something recently.
type Buckets struct {
	rate Rate

	mu sync.Mutex
	of map[netip.Prefix]*Bucket
}

// NewBuckets makes Buckets; nil if there is no limit.
func NewBuckets(r Rate) *Buckets {
	if r <= 0 {
		return nil
	}
	return &Buckets{rate: r, of: make(map[netip.Prefix]*Bucket)}
}

// Try takes one for an address if that is allowed now; otherwise it returns how long to wait.
func (b *Buckets) Try(who netip.Prefix) (wait time.Duration) {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var taken []*Bucket
	for _, n := range NetworksOf(who) {
		of := b.of[n.Prefix]
		if of == nil {
			if len(b.of) >= most {
				b.makeRoom()
			}
			of = NewBucket(b.rate * Rate(n.Share))
			b.of[n.Prefix] = of
		}
		if wait := of.Try(1); wait > 0 {
			for _, t := range taken {
				t.Give(1)
			}
			return wait
		}
		taken = append(taken, of)
	}
	return 0
}

// makeRoom forgets the addresses that have used nothing recently. If the table is still full, it forgets all of them. Called with mu held.
func (b *Buckets) makeRoom() {
	for who, of := range b.of {
		if of.Full() {
			delete(b.of, who)
		}
	}
	if len(b.of) >= most {
		clear(b.of)
	}
}
