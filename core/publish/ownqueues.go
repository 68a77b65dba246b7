package publish

import (
	"log/slog"
	"strings"
	"sync"
)

// warnQueues is the number of topics with a queue of their own at which the operator is warned: each queue costs a broker a directory and a
// mapped file.
const warnQueues = 10_000

// ownQueues counts the topics that got a queue of their own because the dispatch mode is Compatible, up to warnQueues.
type ownQueues struct {
	mu   sync.RWMutex
	seen map[string]struct{}
	said bool
}

func (o *ownQueues) add(queue string, log *slog.Logger) {
	o.mu.RLock()
	_, known := o.seen[queue]
	done := known || o.said
	o.mu.RUnlock()
	if done {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen == nil {
		o.seen = make(map[string]struct{})
	}
	o.seen[strings.Clone(queue)] = struct{}{}
	if len(o.seen) >= warnQueues && !o.said {
		o.said, o.seen = true, nil
		log.Warn("many topics have a queue of their own, and each costs every broker a directory and a mapped file; "+
			"set store.rocketmq.dispatch to lean once no gateway of Apache RocketMQ MQTT is left", "topics", warnQueues)
	}
}
