package abuse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
)

// load is one attack of hostile clients. It continues until ctx ends; errors of hostile clients are expected. size is 1 for the full load.
type load struct {
	name string
	run  func(ctx context.Context, g *gateway, size float64)
}

// scaled returns the fraction size of n, at least 1.
func scaled(n int, size float64) int { return max(1, int(float64(n)*size)) }

// inParallel runs f n times concurrently.
func inParallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// again runs f repeatedly until ctx ends, with a pause between runs.
func again(ctx context.Context, pause time.Duration, f func(n int)) {
	for n := 0; ctx.Err() == nil; n++ {
		f(n)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

var loads = []load{
	{"filters of sessions", manyFilters},
	{"sessions with large wills", manySessions},
	{"shared groups of clean clients", manyGroups},
	{"long filters", longFilters},
	{"filters of 4,000 levels", deepFilters},
	{"retained messages", manyRetained},
	{"large messages at QoS 0", floods},
	{"sleepers that acknowledge nothing", sleepers},
	{"subscribers that do not read", deaf},
	{"connections without CONNECT", silent},
	{"wrong passwords", guessers},
	{"CONNECTs of 131 KB", largeConnects},
	{"clients that flap", flappers},
}

// separate are loads that do not run with all others at once.
var separate = []load{{"many clients of one user", swarm}}

func manyFilters(ctx context.Context, g *gateway, size float64) {
	inParallel(4, func(i int) {
		again(ctx, 10*time.Millisecond, func(n int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("filters-%d-%d", i, n), true)
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			for k := range scaled(50, size) {
				var names []string
				for j := range 100 {
					names = append(names, fmt.Sprintf("evil/%d/%d/%d/%d/+", i, n, k, j))
				}
				if _, err := c.subscribe(1, names...); err != nil {
					return
				}
			}
		})
	})
}

func manySessions(ctx context.Context, g *gateway, size float64) {
	will := bytes.Repeat([]byte("w"), 60<<10)
	inParallel(scaled(16, size), func(i int) {
		again(ctx, 10*time.Millisecond, func(n int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("session-%d-%d", i, n), true, func(cn *packet.Connect) {
				cn.Will = &packet.Will{Topic: "evil/will", Payload: will, Properties: &packet.Properties{WillDelayInterval: new(uint32(600))}}
			})
			if err == nil {
				_ = c.Close()
			}
		})
	})
}

func manyGroups(ctx context.Context, g *gateway, size float64) {
	again(ctx, 50*time.Millisecond, func(n int) {
		c, err := g.connect(ctx, "evil", fmt.Sprintf("groups-%d", n), false)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		for i := range scaled(1000, size) {
			if _, err := c.subscribe(0, fmt.Sprintf("$share/g-%d-%d/evil/#", n, i)); err != nil {
				return
			}
		}
	})
}

func longFilters(ctx context.Context, g *gateway, size float64) {
	long := strings.Repeat("x", 60_000)
	inParallel(scaled(16, size), func(i int) {
		again(ctx, 10*time.Millisecond, func(n int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("long-%d-%d", i, n), false)
			if err != nil {
				return
			}
			for k := range 200 {
				if _, err := c.subscribe(0, fmt.Sprintf("evil/%d/%d/%d/%s", i, n, k, long)); err != nil {
					return
				}
			}
			<-ctx.Done()
		})
	})
}

func deepFilters(ctx context.Context, g *gateway, _ float64) {
	deep := "evil" + strings.Repeat("/a", 4000)
	again(ctx, 10*time.Millisecond, func(n int) {
		c, err := g.connect(ctx, "evil", "deep", false)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		for k := range 100 {
			if _, err := c.subscribe(0, fmt.Sprintf("%s/%d/%d", deep, n, k)); err != nil {
				return
			}
		}
	})
}

func manyRetained(ctx context.Context, g *gateway, size float64) {
	payload := bytes.Repeat([]byte("r"), 50_000)
	inParallel(scaled(8, size), func(i int) {
		c, err := g.connect(ctx, "evil", fmt.Sprintf("retained-%d", i), false)
		if err != nil {
			return
		}
		again(ctx, time.Millisecond, func(n int) { _ = c.publish(1, fmt.Sprintf("evil/r/%d/%d", i, n), true, payload) })
	})
}

func floods(ctx context.Context, g *gateway, _ float64) {
	payload := bytes.Repeat([]byte("f"), 1<<20-100)
	b, err := packet.Append(nil, &packet.Publish{Topic: "evil/flood", Payload: payload}, packet.V5)
	if err != nil {
		panic(err)
	}
	inParallel(4, func(i int) {
		again(ctx, 100*time.Millisecond, func(int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("flood-%d", i), false)
			if err != nil {
				return
			}
			for ctx.Err() == nil {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		})
	})
}

// swarm sends what is little for each client, and much for their user.
func swarm(ctx context.Context, g *gateway, size float64) {
	b, err := packet.Append(nil, &packet.Publish{Topic: "evil/swarm", Payload: bytes.Repeat([]byte("s"), 14<<10)}, packet.V5)
	if err != nil {
		panic(err)
	}
	inParallel(scaled(300, size), func(i int) {
		again(ctx, 100*time.Millisecond, func(int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("swarm-%d", i), false)
			if err != nil {
				return
			}
			for ctx.Err() == nil {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		})
	})
}

func sleepers(ctx context.Context, g *gateway, size float64) {
	payload := bytes.Repeat([]byte("s"), 200_000)
	pub, err := g.connect(ctx, "evil2", "sleepers-pub", false)
	if err != nil {
		return
	}
	for i := range scaled(10, size) {
		c, err := g.connect(ctx, "evil2", fmt.Sprintf("sleeper-%d", i), true)
		if err != nil {
			continue
		}
		if _, err := c.subscribe(1, "evil2/sleep/#"); err != nil {
			continue
		}
		for n := range scaled(50, size) {
			_ = pub.publish(1, fmt.Sprintf("evil2/sleep/%d", n), false, payload)
		}
		for range 20 { // it receives as much as it can, and acknowledges nothing
			if _, err := c.r.ReadPacket(); err != nil {
				break
			}
		}
		_ = c.Close()
	}
	<-ctx.Done()
}

func deaf(ctx context.Context, g *gateway, size float64) {
	payload := bytes.Repeat([]byte("d"), 200_000)
	for i := range scaled(30, size) {
		c, err := g.connect(ctx, "evil2", fmt.Sprintf("deaf-%d", i), false)
		if err == nil {
			_, _ = c.subscribe(0, "evil2/deaf")
		}
	}
	pub, err := g.connect(ctx, "evil2", "deaf-pub", false)
	if err != nil {
		return
	}
	again(ctx, 5*time.Millisecond, func(int) { _ = pub.publish(1, "evil2/deaf", false, payload) })
}

func silent(ctx context.Context, g *gateway, size float64) {
	inParallel(10, func(int) {
		for range scaled(300, size) {
			if _, err := g.dial(ctx); err != nil {
				return
			}
		}
		<-ctx.Done()
	})
}

func guessers(ctx context.Context, g *gateway, size float64) {
	inParallel(scaled(60, size), func(i int) {
		again(ctx, time.Millisecond, func(n int) {
			c, err := g.connect(ctx, "honest", fmt.Sprintf("guess-%d", i), false, func(cn *packet.Connect) { cn.Password = fmt.Append(nil, "guess", n) })
			if err == nil {
				_ = c.Close()
			}
		})
	})
}

func largeConnects(ctx context.Context, g *gateway, size float64) {
	inParallel(scaled(16, size), func(i int) {
		name := strings.Repeat("u", 65_000)
		again(ctx, time.Millisecond, func(n int) {
			c, err := g.connect(ctx, name, fmt.Sprintf("%d-%d-%s", i, n, name), false)
			if err == nil {
				_ = c.Close()
			}
		})
	})
}

// flaps counts the successful connects of flapping clients.
var flaps atomic.Int64

func flappers(ctx context.Context, g *gateway, size float64) {
	inParallel(scaled(8, size), func(i int) {
		again(ctx, time.Millisecond, func(int) {
			c, err := g.connect(ctx, "evil", fmt.Sprintf("flap-%d", i/2), false) // two clients take over each other's connection
			if err == nil {
				flaps.Add(1)
				_, _ = io.CopyN(io.Discard, c, 1)
				_ = c.Close()
			}
		})
	})
}
