// Package local is the embedded message store: one process, one directory, no services. It implements store.Store on
// cockroachdb/pebble.
//
// There is one broker, named "local", and each first-level topic has one partition, 0. Each record is written once, to one log for
// the whole store. A queue (a light message queue, or the partition of a topic) is an index from the queue's offsets to positions
// in the log. Offsets never restart and never repeat. After a crash some are left out.
//
// # Goroutines
//
// Start starts three goroutines, and Close stops them:
//
//   - The committer assigns offsets. It collects waiting appends into one pebble batch and passes it to pebble's log. While the
//     batch is synced to disk, it collects the next one.
//   - The publisher waits until a batch is durable, makes its records visible to readers, wakes tails, and calls back.
//   - The retention loop removes records that are too old or take too much space.
//
// With SyncInterval a fourth goroutine syncs the log. Each tail has a goroutine, which stops when the tail or the store is closed.
// Each write of offsets or topics has a goroutine that ends with the write.
//
// # Durability
//
// With SyncAlways, a callback means that the record is on stable storage (the write-ahead log is synced). With SyncInterval, a crash
// of the process or the machine can lose appends that were acknowledged within the last interval, and never older ones: what is left
// is a prefix of the log. Nothing else gets the offsets and the places in the log of what was lost: see gaps.go. Readers and tails see a
// record once its append is acknowledged.
//
// While the disk is full or nearly full (Options.MinFree), appends fail with store.ErrUnavailable. They succeed again once there is
// space. Any other error of the write-ahead log, and any failed sync, is final: the store rejects all further writes, acknowledges
// nothing more, and Ready says why. Readable records stay readable, and a restart recovers every acknowledged record. On some of these
// errors pebble would exit the process; walFS prevents that. An append that failed because of the disk may still be stored.
//
// # What it never does
//
// It does not replicate. No other process can read its directory while it runs.
package local
