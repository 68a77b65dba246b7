package local

import (
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	spaceInterval     = 2 * time.Second
	retentionInterval = time.Minute
	retentionSoonest  = 100 * time.Millisecond
)

// retentionLoop removes records that are too old or take too much space. It also watches the free space on the disk.
func (s *Store) retentionLoop() {
	every := retentionInterval
	if s.opts.Retention > 0 {
		every = max(min(every, s.opts.Retention/10), retentionSoonest)
	}
	space, expire := time.NewTicker(spaceInterval), time.NewTicker(every)
	defer space.Stop()
	defer expire.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-space.C:
			s.checkSpace()
		case <-expire.C:
			if err := s.expire(); err != nil && s.failure.Load() == nil {
				s.opts.Log.Warn("local store: retention failed and is tried again", "path", s.opts.Path, "error", err)
			}
		}
	}
}

// free returns the free bytes on the disk, for the metrics; NaN if the file system does not tell.
func (o *Options) free() float64 {
	usage, err := o.fs.GetDiskUsage(o.Path)
	if err != nil {
		return math.NaN()
	}
	return float64(usage.AvailBytes)
}

// checkSpace refuses or admits appends depending on the free space of the disk.
func (s *Store) checkSpace() {
	if s.opts.MinFree < 0 {
		return
	}
	usage, err := s.opts.fs.GetDiskUsage(s.opts.Path)
	if err != nil {
		return // the file system does not tell; pebble's own errors still do
	}
	full := usage.AvailBytes < uint64(s.opts.MinFree)
	if s.full.Swap(full) == full {
		return
	}
	if full {
		s.opts.Log.Error("local store: the disk is almost full, appends are refused; free some space",
			"path", s.opts.Path, "free_bytes", usage.AvailBytes, "needed_bytes", s.opts.MinFree)
	} else {
		s.opts.Log.Info("local store: the disk has space again, appends are accepted", "path", s.opts.Path, "free_bytes", usage.AvailBytes)
	}
}

// expire removes records by age and size, in steps, until no more have to go.
func (s *Store) expire() error {
	for {
		select {
		case <-s.stop:
			return nil
		default:
		}
		if failure := s.failure.Load(); failure != nil {
			return *failure
		}
		more, err := s.expireSome()
		if err != nil || !more {
			return err
		}
	}
}

// expireSome removes up to removeRecords of the oldest records, and reports whether there may be more to remove.
func (s *Store) expireSome() (more bool, err error) {
	s.removeMu.Lock()
	defer s.removeMu.Unlock()
	end := s.visible.Load()
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{kindRecord},
		UpperBound: appendNumber(nil, kindRecord, uint64(end)),
	})
	if err != nil {
		return false, s.readError(err)
	}
	defer func() {
		if closeErr := it.Close(); err == nil && closeErr != nil {
			err = s.readError(closeErr)
		}
	}()
	if !it.First() {
		return false, nil
	}
	tooMuch, err := s.excess(recordLog(it.Key()), end)
	if err != nil {
		return false, err
	}
	oldest := int64(-1)
	if s.opts.Retention > 0 {
		oldest = s.opts.now().Add(-s.opts.Retention).UnixMilli()
	}
	m := s.newRemoval()
	defer func() { _ = m.batch.Close() }()
	for ok := true; ok && m.records < removeRecords; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return false, s.readError(err)
		}
		h, err := decodeHead(value)
		if err != nil {
			return false, s.readError(err)
		}
		if h.time >= oldest && tooMuch <= 0 {
			break
		}
		if err := m.add(recordLog(it.Key()), value); err != nil {
			return false, err
		}
		tooMuch -= int64(len(value))
	}
	if m.records == 0 {
		return false, nil
	}
	if err := m.addEntries(true); err != nil {
		return false, err
	}
	from, to := appendNumber(nil, kindRecord, uint64(m.first)), appendNumber(nil, kindRecord, uint64(m.last+1))
	if err := m.batch.DeleteRange(from, to, nil); err != nil {
		return false, err
	}
	if err := s.apply(m.batch, pebble.NoSync); err != nil {
		return false, err
	}
	s.metrics.expired.Add(float64(m.records))
	return true, nil
}

// excess returns by how many bytes the records on disk exceed Options.MaxBytes.
func (s *Store) excess(first, end int64) (int64, error) {
	if s.opts.MaxBytes == 0 {
		return 0, nil
	}
	used, err := s.db.EstimateDiskUsage(appendNumber(nil, kindRecord, uint64(first)), appendNumber(nil, kindRecord, uint64(end)))
	if err != nil {
		return 0, s.readError(err)
	}
	return int64(used) - s.opts.MaxBytes, nil
}
