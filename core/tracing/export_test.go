package tracing

import "time"

// SendLastFor sets how long Close sends what waits. It must be called before Close.
func (t *Tracer) SendLastFor(d time.Duration) { t.export.last = d }
