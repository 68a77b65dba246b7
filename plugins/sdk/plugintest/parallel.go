package plugintest

import (
	"sync"
	"sync/atomic"
)

// parallel calls f for 0 to n-1, width at a time, and returns the first error. After an error it starts no more calls.
func parallel(n, width int, f func(i int) error) error {
	var (
		group sync.WaitGroup
		once  sync.Once
		first error
		next  atomic.Int64
		stop  atomic.Bool
	)
	for range min(n, width) {
		group.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || stop.Load() {
					return
				}
				if err := f(i); err != nil {
					once.Do(func() { first = err })
					stop.Store(true)
				}
			}
		})
	}
	group.Wait()
	return first
}
