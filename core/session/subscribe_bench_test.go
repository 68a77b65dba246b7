package session

import (
	"strconv"
	"testing"
)

// BenchmarkSubscribe measures one SUBSCRIBE of a persistent session with the maximum number of filters, on the local store and with
// metadata in memory. The first SUBSCRIBE has filters that no session has; the second repeats them.
func BenchmarkSubscribe(b *testing.B) {
	const many = 10_000
	n := startNode(b)
	all := filters(many)
	b.Run("new", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			c := n.connect("new-"+strconv.Itoa(i), durable)
			news := make([]string, many)
			for j := range news {
				news[j] = "T/" + strconv.Itoa(b.N) + "/" + strconv.Itoa(i) + "/" + strconv.Itoa(j) + "/+"
			}
			b.StartTimer()
			c.subscribe(1, news...)
		}
	})
	b.Run("unchanged", func(b *testing.B) {
		c := n.connect("unchanged", durable)
		c.subscribe(1, all...)
		for b.Loop() {
			c.subscribe(1, all...)
		}
	})
}
