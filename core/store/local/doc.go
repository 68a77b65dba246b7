// Package local is the embedded message store: one process, one directory, no services. It implements store.Store on
// cockroachdb/pebble.
//
// There is one broker, named "local", and each first-level topic has one partition, 0. Every record is written once, under
// its place in one log for the whole store; a queue (light message queue, or the partition of a topic, which is kept as a
// queue too) is an index from its offsets to places in the log. Offsets never restart and never repeat.
//
// # Goroutines
//
// Start begins three goroutines, Close ends them:
//
//   - the committer owns the assignment of offsets. It gathers the appends that wait into one pebble batch and hands it to
//     pebble's log. While that batch is synced to disk it gathers the next one.
//   - the publisher waits until a batch is durable, makes its records visible to readers, wakes tails, and calls back.
//   - the retention removes records that are too old or take too much space.
//
// Each tail has a goroutine of its own, which its Close (or the store's) ends. A fourth syncs the log with SyncInterval, and
// writes of offsets and topics have one each, which ends with the write.
//
// # Durability
//
// With SyncAlways a callback means that the record is on stable storage (fsync of the write-ahead log). With SyncInterval a
// crash of the process or machine may lose appends that were acknowledged within the last interval, never older ones; what
// is left is always a prefix of the log. Readers and tails see a record only when its append is acknowledged.
//
// A disk that is full, or nearly (Options.MinFree), is waited for: appends are refused with store.ErrUnavailable meanwhile,
// and accepted again by themselves when there is space. Any other error of the write-ahead log, and every failed sync, is
// final: the store refuses every further write, acknowledges nothing more, and Ready says why. Records that are readable
// stay readable, and a restart recovers everything that was acknowledged. Pebble itself would end the process on some of
// these errors; walFS keeps them from it. An append that was refused because of the disk may turn out to be stored.
//
// # What it never does
//
// It does not replicate, and no other process can read its directory while it runs.
package local
