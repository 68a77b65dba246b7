package meta

import (
	"context"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// strayPages removes pages of subscriptions that no session's record names, if two passes at least FilterGrace apart found them so. A node
// may have died between writing pages and writing the record that names them, or between removing the record and removing the pages.
func (s *sweep) strayPages(ctx context.Context, now time.Time) error {
	var keys []string
	_, err := s.m.backend.list(ctx, NamespaceSubscriptions, "", func(entries []*pluginv1.Entry) error {
		for _, e := range entries {
			keys = append(keys, e.GetKey())
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		clear(s.stray)
		return err
	}
	named := map[string]bool{}
	// Read the records after listing the pages: a node that wrote a page before has had time to write the record, or will have until the
	// next pass.
	unreadable, err := s.m.scanSessions(ctx, func(_ *pluginv1.Entry, _ stored, _ *Session, pages string) error {
		named[pages] = true
		return nil
	})
	if err != nil || unreadable > 0 { // an unreadable record may name some
		return err
	}
	before := s.stray
	s.stray = map[string]time.Time{}
	var due []*pluginv1.Operation
	for _, key := range keys {
		if named[pagesOf(key)] {
			continue
		}
		since, known := before[key]
		if !known {
			since = now
		}
		if s.stray[key] = since; now.Sub(since) >= s.m.opts.FilterGrace {
			due = append(due, remove(NamespaceSubscriptions, key))
			delete(s.stray, key)
		}
	}
	if len(due) == 0 {
		return nil
	}
	_, err = s.m.writer.write(ctx, due...)
	if err == nil {
		s.m.log.Info("subscriptions of sessions that have ended removed", "pages", len(due))
	}
	return err
}
