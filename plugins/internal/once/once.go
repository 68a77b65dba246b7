// Package once keeps a plugin from saying the same of a key at each listing, which the gateway asks for every few seconds.
package once

import "sync"

// most bounds the keys that are remembered, and so the lines that are written.
const most = 1000

// Keys are the keys of which something was said. The zero value is ready.
type Keys struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// First reports whether nothing was said of a key yet. Past a thousand keys it is never the first time.
func (k *Keys) First(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.said[key]; known || len(k.said) >= most {
		return false
	}
	if k.said == nil {
		k.said = make(map[string]struct{})
	}
	k.said[key] = struct{}{}
	return true
}
