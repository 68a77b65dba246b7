// Package once keeps a plugin from logging the same message about a key at each listing, which the gateway requests every few seconds.
package once

import "sync"

// most bounds the remembered keys, and so the log lines.
const most = 1000

// Keys remembers the keys that were logged. The zero value is ready to use.
type Keys struct {
	mu   sync.Mutex
	said map[string]struct{}
}

// First reports whether this is the first call for a key. Beyond a thousand keys it always returns false.
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
