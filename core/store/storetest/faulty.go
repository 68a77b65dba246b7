package storetest

import (
	"context"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// Faulty wraps a store and shows its queues with the faults that RocketMQ's queues can have: skipped offsets, duplicate records, repeated
// offsets, queues that began again at 0, tails that miss records, and failing calls.
//
// Faults apply to a queue by name, on every broker, and use the offsets of the wrapped store. Commit and Committed pass offsets through
// unchanged.
type Faulty struct {
	store.Store

	mu      sync.Mutex
	queues  map[string]*faults
	missing map[string]int     // by topic: records that tails still have to miss
	held    chan struct{}      // set while tails are held; closed when they may continue
	from    int64              // the first offset at which tails of topics are held
	shared  bool               // others append as well
	bounded func()             // called once, after the next BoundsOn
	cuts    []map[string]int64 // of each cut of the log: by queue, where it is
	reads   error
	parts   error
	appends error
	judge   func(context.Context, *store.Message) error
	commits error
	groups  error
	refused int // number of PopAck calls that failed because of groups
	acked   int // number of receipts that PopAck has acknowledged

	verdicts map[*store.Message]error
}

var _ store.Store = (*Faulty)(nil)

// faults are the faults of one queue. All offsets are those of the wrapped store.
type faults struct {
	base    int64           // records before it are gone, and the queue began again at 0
	cut     int64           // the first record that the broker lost
	lost    int64           // the number of records that it lost, whose offsets others took
	gaps    map[int64]int64 // by record: the number of offsets skipped before it
	twice   map[int64]bool  // the record has two successive entries
	repeats map[int64]bool  // the record claims the offset of the one before it
}

// NewFaulty returns a store without faults on top of s.
func NewFaulty(s store.Store) *Faulty {
	return &Faulty{Store: s, queues: map[string]*faults{}, missing: map[string]int{}, verdicts: map[*store.Message]error{}}
}

// Gap skips n offsets of the queue before the record at offset at.
func (f *Faulty) Gap(queue string, at, n int64) {
	f.change(queue, func(q *faults) { q.gaps[at] += n })
}

// Twice shows the record at offset at in the queue twice, at two offsets.
func (f *Faulty) Twice(queue string, at int64) {
	f.change(queue, func(q *faults) { q.twice[at] = true })
}

// Repeat makes the record at offset at claim, in its entries, the offset of the record before it. Batch.Offsets still has the right offset.
func (f *Faulty) Repeat(queue string, at int64) {
	f.change(queue, func(q *faults) { q.repeats[at] = true })
}

// Reset makes the queue begin again at 0 with the record at offset at. Earlier records are gone.
func (f *Faulty) Reset(queue string, at int64) {
	f.change(queue, func(q *faults) { q.base = at })
}

// Shared makes the store behave like one to which others append: tails know nothing about records that they have not brought yet, unless
// they ask.
func (f *Faulty) Shared() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.shared = true
}

// AfterBounds makes the next BoundsOn call a function before it answers.
func (f *Faulty) AfterBounds(call func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bounded = call
}

// Limits clears Exclusive if the store is shared.
func (f *Faulty) Limits() store.Limits {
	l := f.Store.Limits()
	l.Exclusive = l.Exclusive && !f.isShared()
	return l
}

func (f *Faulty) isShared() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shared
}

// FailReads makes Read, ReadPartition, Bounds and BoundsOn fail with err; nil ends that. FailAppends and FailCommits do the same for their
// calls.
func (f *Faulty) FailReads(err error) { f.set(&f.reads, err) }

// FailAppends makes Append and AppendBatch fail with err; nil ends that.
func (f *Faulty) FailAppends(err error) { f.set(&f.appends, err) }

// FailCommits makes Commit, Committed and Forget fail with err; nil ends that.
func (f *Faulty) FailCommits(err error) { f.set(&f.commits, err) }

// FailGroups makes PlaceGroup, Pop, PopAck, PopHide, EndGroup and GroupLeft fail with err; nil ends that.
func (f *Faulty) FailGroups(err error) { f.set(&f.groups, err) }

// FailPartitionReads makes only ReadPartition fail with err; nil ends that.
func (f *Faulty) FailPartitionReads(err error) { f.set(&f.parts, err) }

func (f *Faulty) set(field *error, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*field = err
}

func (f *Faulty) get(field *error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return *field
}

func (f *Faulty) change(queue string, set func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.queues[queue].clone() // readers may hold the old value
	set(q)
	f.queues[queue] = q
}

func (f *Faulty) of(queue string) *faults {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queues[queue]
}

func (q *faults) clone() *faults {
	c := &faults{gaps: map[int64]int64{}, twice: map[int64]bool{}, repeats: map[int64]bool{}}
	if q != nil {
		c.base, c.cut, c.lost = q.base, q.cut, q.lost
		maps.Copy(c.gaps, q.gaps)
		maps.Copy(c.twice, q.twice)
		maps.Copy(c.repeats, q.repeats)
	}
	return c
}

// first returns the offset shown for a record; for a record shown twice, the first of the two.
func (q *faults) first(at int64) int64 {
	shown := max(at-q.base, 0)
	if q.lost > 0 && at >= q.cut {
		shown = max(at-q.lost, q.cut)
	}
	for gap, n := range q.gaps {
		if gap >= q.base && gap <= at {
			shown += n
		}
	}
	for twice := range q.twice {
		if twice >= q.base && twice < at {
			shown++
		}
	}
	return shown
}

// end returns the offset after the last one shown for a record.
func (q *faults) end(at int64) int64 {
	if q.twice[at] {
		return q.first(at) + 2
	}
	if q.isLost(at) {
		return q.first(at) // it has no entry
	}
	return q.first(at) + 1
}

// Append fails or appends.
func (f *Faulty) Append(ctx context.Context, a store.Append, done func(store.Position, error)) {
	judge, err := f.appending()
	if err != nil {
		done(store.Position{}, err)
		return
	}
	if judge == nil {
		f.Store.Append(ctx, a, done)
		return
	}
	go func() {
		if err := f.judged(ctx, judge, a.Message); err != nil {
			done(store.Position{}, err)
			return
		}
		f.Store.Append(ctx, a, done)
	}()
}

// AppendBatch fails, or appends the messages before the first one that is judged to fail.
func (f *Faulty) AppendBatch(ctx context.Context, batch []store.Append, done func(int, store.Position, error)) {
	judge, err := f.appending()
	if err != nil {
		done(len(batch), store.Position{}, err)
		return
	}
	if judge == nil {
		f.Store.AppendBatch(ctx, batch, done)
		return
	}
	go func() {
		for i := range batch {
			m := batch[i].Message
			err := f.judged(ctx, judge, m)
			if err == nil {
				continue
			}
			if i == 0 {
				done(1, store.Position{}, err)
				return
			}
			f.keepVerdict(m, err)
			batch = batch[:i]
			break
		}
		f.Store.AppendBatch(ctx, batch, done)
	}()
}

// appending returns the error of appends, and the function that judges their messages.
func (f *Faulty) appending() (judge func(context.Context, *store.Message) error, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.judge, f.appends
}

// keepVerdict stores the verdict on a message until the message is the first of a call.
func (f *Faulty) keepVerdict(m *store.Message, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.verdicts[m] = err
}

// judged returns the stored verdict on a message, or asks judge.
func (f *Faulty) judged(ctx context.Context, judge func(context.Context, *store.Message) error, m *store.Message) error {
	f.mu.Lock()
	err, kept := f.verdicts[m]
	delete(f.verdicts, m)
	f.mu.Unlock()
	if kept {
		return err
	}
	return judge(ctx, m)
}

// Bounds returns the bounds with the queue's faults.
func (f *Faulty) Bounds(ctx context.Context, ref store.QueueRef) (store.Bounds, error) {
	if err := f.get(&f.reads); err != nil {
		return store.Bounds{}, err
	}
	b, err := f.Store.Bounds(ctx, ref)
	if q := f.of(ref.Queue); q != nil && err == nil {
		b.Min, b.Max = q.bounds(b.Min, b.Max)
	}
	return b, err
}

// BoundsOn returns the bounds with the queues' faults.
func (f *Faulty) BoundsOn(ctx context.Context, broker string, queues []string) ([]store.Bounds, error) {
	if err := f.get(&f.reads); err != nil {
		return nil, err
	}
	all, err := f.Store.BoundsOn(ctx, broker, queues)
	f.mu.Lock()
	call := f.bounded
	f.bounded = nil
	f.mu.Unlock()
	if call != nil {
		call()
	}
	if err != nil {
		return nil, err
	}
	for i, queue := range queues {
		if q := f.of(queue); q != nil {
			all[i].Min, all[i].Max = q.bounds(all[i].Min, all[i].Max)
		}
	}
	return all, nil
}

func (q *faults) bounds(first, end int64) (int64, int64) {
	shown := q.first(max(first, q.base))
	if end <= max(first, q.base) {
		return shown, shown
	}
	return shown, q.end(end - 1)
}

// Read reads the queue with its faults.
func (f *Faulty) Read(ctx context.Context, ref store.QueueRef, offset int64, n int) (store.Batch, error) {
	if err := f.get(&f.reads); err != nil {
		return store.Batch{}, err
	}
	q := f.of(ref.Queue)
	if q == nil {
		b, err := f.Store.Read(ctx, ref, offset, n)
		b.Records, b.Cuts = f.showAll(b.Records), f.Cuts("")
		return b, err
	}
	real, err := f.Store.Bounds(ctx, ref)
	if err != nil {
		return store.Batch{}, err
	}
	b := store.Batch{Next: offset, Cuts: f.Cuts("")}
	b.Min, b.Max = q.bounds(real.Min, real.Max)
	if offset > b.Max {
		b.Next = b.Min
		return b, nil
	}
	// The first record that has an entry shown at or after the offset.
	from := max(real.Min, q.base)
	from += int64(sort.Search(int(max(real.Max-from, 0)), func(i int) bool { return q.end(from+int64(i)) > offset }))
	if from >= real.Max {
		b.Next = max(offset, b.Max)
		return b, nil
	}
	got, err := f.Store.Read(ctx, ref, from, n)
	if err != nil {
		return store.Batch{}, err
	}
	for i, r := range f.showAll(got.Records) {
		at := got.Offsets[i]
		for shown := q.first(at); shown < q.end(at); shown++ {
			if shown >= offset && len(b.Records) < n {
				b.Records = append(b.Records, r)
				b.Offsets = append(b.Offsets, shown)
				b.Next = shown + 1
			}
		}
	}
	if len(b.Records) == 0 {
		b.Next = max(offset, q.first(got.Next))
	}
	return b, nil
}

// ReadPartition reads a partition. Only the entries of its records have faults.
func (f *Faulty) ReadPartition(ctx context.Context, topic string, p store.Partition, offset int64, n int) (store.Batch, error) {
	if err := f.get(&f.reads); err != nil {
		return store.Batch{}, err
	}
	if err := f.get(&f.parts); err != nil {
		return store.Batch{}, err
	}
	b, err := f.Store.ReadPartition(ctx, topic, p, offset, n)
	b.Records = f.showAll(b.Records)
	return b, err
}

// Commit fails or commits.
func (f *Faulty) Commit(ctx context.Context, client string, epoch int64, offsets []store.Offset) error {
	if err := f.get(&f.commits); err != nil {
		return err
	}
	return f.Store.Commit(ctx, client, epoch, offsets)
}

// Committed fails or returns the offsets.
func (f *Faulty) Committed(ctx context.Context, client string, queues []store.QueueRef) ([]store.Offset, error) {
	if err := f.get(&f.commits); err != nil {
		return nil, err
	}
	return f.Store.Committed(ctx, client, queues)
}

// Forget fails or forgets.
func (f *Faulty) Forget(ctx context.Context, client string, queues []store.QueueRef) error {
	if err := f.get(&f.commits); err != nil {
		return err
	}
	return f.Store.Forget(ctx, client, queues)
}

// PlaceGroup fails or places.
func (f *Faulty) PlaceGroup(ctx context.Context, g store.Group, offset int64) error {
	if err := f.get(&f.groups); err != nil {
		return err
	}
	return f.Store.PlaceGroup(ctx, g, offset)
}

// Pop fails or hands out records, with the faults in their entries. It does not check for failures while it waits.
func (f *Faulty) Pop(ctx context.Context, g store.Group, n int, hidden, wait time.Duration) ([]store.Handout, error) {
	if err := f.get(&f.groups); err != nil {
		return nil, err
	}
	out, err := f.Store.Pop(ctx, g, n, hidden, wait)
	for i := range out {
		out[i].Record = f.show(out[i].Record)
	}
	return out, err
}

// PopAck fails or acknowledges.
func (f *Faulty) PopAck(ctx context.Context, g store.Group, receipts []string) error {
	if err := f.get(&f.groups); err != nil {
		f.count(&f.refused, 1)
		return err
	}
	err := f.Store.PopAck(ctx, g, receipts)
	if err == nil {
		f.count(&f.acked, len(receipts))
	}
	return err
}

// PopAcks returns how many receipts PopAck has acknowledged, and how often it failed because of FailGroups.
func (f *Faulty) PopAcks() (acked, refused int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, f.refused
}

func (f *Faulty) count(what *int, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*what += n
}

// PopHide fails or hides.
func (f *Faulty) PopHide(ctx context.Context, g store.Group, receipts []string, hidden time.Duration) ([]string, error) {
	if err := f.get(&f.groups); err != nil {
		return nil, err
	}
	return f.Store.PopHide(ctx, g, receipts, hidden)
}

// EndGroup fails or ends.
func (f *Faulty) EndGroup(ctx context.Context, g store.Group) error {
	if err := f.get(&f.groups); err != nil {
		return err
	}
	return f.Store.EndGroup(ctx, g)
}

// GroupLeft fails or counts.
func (f *Faulty) GroupLeft(ctx context.Context, g store.Group) (int64, error) {
	if err := f.get(&f.groups); err != nil {
		return 0, err
	}
	return f.Store.GroupLeft(ctx, g)
}

// showAll returns the records with the faults in their entries. Records are shared, so changed ones are copies.
func (f *Faulty) showAll(records []*store.Record) []*store.Record {
	out := make([]*store.Record, len(records))
	for i, r := range records {
		out[i] = f.show(r)
	}
	return out
}

func (f *Faulty) show(r *store.Record) *store.Record {
	shown := r
	if n := f.Cuts(""); n > 0 {
		c := *r
		c.Entries, c.Cuts = slices.Clone(r.Entries), n
		shown = &c
	}
	for i, e := range r.Entries {
		q := f.of(e.Queue)
		if q == nil {
			continue
		}
		if shown == r {
			c := *r
			c.Entries = slices.Clone(r.Entries)
			shown = &c
		}
		shown.Entries[i].Offset = q.first(e.Offset)
		if q.repeats[e.Offset] && e.Offset > q.base {
			shown.Entries[i].Offset = q.first(e.Offset - 1)
		}
	}
	return shown
}
