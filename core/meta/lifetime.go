package meta

import (
	"time"
)

// Lifetime returns how long a value is still needed (0: for ever), and whether it is needed at all: what a backend with TTL would have been
// told. It is for copies of values from a backend that does not report TTLs.
func Lifetime(namespace string, value []byte) (ttl time.Duration, keep bool) {
	switch namespace {
	case NamespaceRetained:
	case NamespaceBans:
		var r banRecord
		if decode(namespace, "", value, &r) != nil || r.Until <= 0 {
			return 0, true // unreadable here: keep it
		}
		ttl = time.Until(fromMillis(r.Until))
		return ttl, ttl > 0
	default:
		return 0, true
	}
	var r retainedRecord
	if decode(namespace, "", value, &r) != nil {
		return 0, true // unreadable here: keep it
	}
	switch {
	case r.Removed != 0:
		ttl = time.Until(fromMillis(r.Removed).Add(tombstoneTTL))
	case r.Message != nil && r.Message.Expires != 0:
		ttl = time.Until(fromMillis(r.Message.Expires).Add(expiredFor))
	default:
		return 0, true
	}
	return ttl, ttl > 0
}
