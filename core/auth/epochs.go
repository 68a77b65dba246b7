package auth

import (
	"hash/maphash"
	"sync/atomic"
)

// epochBuckets is the number of counters for each field that a revocation can name. A revocation of one client drops the decisions about
// all clients in its bucket, one in a thousand. That avoids a registry of all principals.
const epochBuckets = 1024

const (
	byClientID = iota
	byUsername
	byIdentity
)

// epochs counts revocations. A decision is valid while the epoch of its principal is the one in which it was requested.
type epochs struct {
	// count is the number of revocations that have begun.
	count   atomic.Uint64
	all     atomic.Uint64
	buckets [3][epochBuckets]atomic.Uint64
}

var epochSeed = maphash.MakeSeed()

func bucketOf(field int, value string) uint32 {
	return uint32((maphash.String(epochSeed, value) + uint64(field)) % epochBuckets)
}

// of returns the epoch of a principal. Each counter only grows, so the sum changes with any of them.
func (e *epochs) of(p *Principal) uint64 {
	return e.all.Load() +
		e.buckets[byClientID][p.buckets[byClientID]].Load() +
		e.buckets[byUsername][p.buckets[byUsername]].Load() +
		e.buckets[byIdentity][p.buckets[byIdentity]].Load()
}

// now returns how many revocations have begun.
func (e *epochs) now() uint64 { return e.count.Load() }

// revoke begins a new epoch for every client that the revocation may concern. It counts first: whoever reads the new epoch, and then the
// count, sees that there was a revocation.
func (e *epochs) revoke(r Revocation) {
	e.count.Add(1)
	switch {
	case r.ClientID != "":
		e.buckets[byClientID][bucketOf(byClientID, r.ClientID)].Add(1)
	case r.Identity != "":
		e.buckets[byIdentity][bucketOf(byIdentity, r.Identity)].Add(1)
	case r.Username != "":
		e.buckets[byUsername][bucketOf(byUsername, r.Username)].Add(1)
	default:
		e.all.Add(1)
	}
}
