package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lmqgate/lmqgate/internal/exposed"
	"github.com/lmqgate/lmqgate/plugins/internal/trustedfile"
	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

const (
	// maxFileBytes bounds the file: some hundred thousand users.
	maxFileBytes = 64 << 20
	// settle is how long after a modification the file's timestamp may fail to show another one.
	settle = 3 * time.Second
)

// store holds the users of the file. A reload is all or nothing: while the file is broken, the previous users stay in use.
type store struct {
	path    string
	log     *slog.Logger
	revoked *revocations
	now     atomic.Pointer[users]
	// trouble says why the current file is not in use; nil if it is.
	trouble atomic.Pointer[fileError]

	// Owned by the goroutine that reloads: that of Configure and Activate, then that of watch.
	seen  stamp
	since time.Time // when seen was first seen
	// exposed is set while everybody may read the file; a warning told so.
	exposed bool
}

// fileError lists the reasons why a file cannot be used.
type fileError struct{ problems []sdk.Problem }

func (e *fileError) Error() string {
	var texts []string
	for _, p := range e.problems {
		if p.Key == "" {
			texts = append(texts, p.Message)
		} else {
			texts = append(texts, p.Key+": "+p.Message)
		}
	}
	return strings.Join(texts, "; ")
}

// stamp identifies a version of the file: if the file changes, so does its stamp.
type stamp struct {
	modified time.Time
	size     int64
	info     fs.FileInfo
}

func (s stamp) same(other stamp) bool {
	return s.info != nil && other.info != nil && s.modified.Equal(other.modified) && s.size == other.size && os.SameFile(s.info, other.info)
}

// watch reloads the file when it has changed, until ctx ends.
func (s *store) watch(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.reload()
		}
	}
}

// reload reads the file if it may have changed.
func (s *store) reload() {
	s.warnOfReaders()
	now := stampOf(s.path)
	if !now.same(s.seen) {
		s.seen, s.since = now, time.Now()
	} else if s.trouble.Load() == nil && time.Since(s.since) > settle {
		return
	}
	before := s.now.Load()
	next, problems := readUsers(s.path, before)
	if next == before && len(problems) == 0 && s.trouble.Load() == nil {
		return
	}
	if len(problems) > 0 {
		trouble := &fileError{problems}
		if last := s.trouble.Swap(trouble); last == nil || last.Error() != trouble.Error() {
			s.log.Error("the file of users cannot be used; those of before stay", "file", s.path, "error", trouble)
		}
		return
	}
	if s.trouble.Swap(nil) != nil {
		s.log.Info("the file of users is good again", "file", s.path)
	}
	s.replace(before, next)
}

// replace replaces before by next, and revokes what is no longer allowed.
func (s *store) replace(before, next *users) {
	removed, changed, added := 0, 0, 0
	var gone []revocation
	for name, old := range before.byName {
		switch u, there := next.byName[name]; {
		case !there:
			removed++
			gone = append(gone, revocation{name, true, "the user was removed"})
		case u == old:
		case u.Disabled && !old.Disabled:
			changed++
			gone = append(gone, revocation{name, true, "the user was disabled"})
		case !u.sameCredentials(old):
			changed++
			gone = append(gone, revocation{name, true, "the user's password or client identifiers were changed"})
		default:
			changed++
			gone = append(gone, revocation{name, false, "the user's rules were changed"})
		}
	}
	for name := range next.byName {
		if before.byName[name] == nil {
			added++
		}
	}
	s.now.Store(next) // before the revocations, so that clients that reconnect are checked against the new file
	if removed+changed+added == 0 {
		return
	}
	s.revoked.add(gone)
	if removed+changed+added > removed {
		s.warnOfClientIDs(next)
	}
	s.log.Info("users were read again", "file", s.path, "users", len(next.byName), "added", added, "changed", changed, "removed", removed)
}

// warnOfReaders warns, once, of a file that everybody may read. Such a file is used all the same: it has hashes, which are slow to guess
// from, and no passwords; files from a repository or a package often have such a mode.
func (s *store) warnOfReaders() {
	before := s.exposed
	if s.exposed = exposed.ToOthers(s.path); s.exposed && !before {
		s.log.Warn("every user of this machine may read the file of users, and can guess passwords from its hashes; run chmod o-rwx on it", "file", s.path)
	}
}

// maxWarned bounds how many users one warning names.
const maxWarned = 8

// warnOfClientIDs warns of users whose rules depend on a client identifier that they can choose freely.
func (s *store) warnOfClientIDs(u *users) {
	var names []string
	for _, v := range u.all {
		if len(v.ClientIDs) == 0 && topicrules.UsesClientID(v.Rules) {
			names = append(names, v.Username)
		}
	}
	if len(names) > 0 {
		s.log.Warn("rules with %c of users who may use any client identifier: each can do what the rules allow to any other client of theirs; list their client_ids",
			"file", s.path, "count", len(names), "users", names[:min(len(names), maxWarned)])
	}
}

// health returns why the current file is not in use, or nil.
func (s *store) health() error {
	if trouble := s.trouble.Load(); trouble != nil {
		return fmt.Errorf("%s cannot be used, and the users of before stay: %w", s.path, trouble)
	}
	return nil
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{modified: info.ModTime(), size: info.Size(), info: info}
}

// readUsers reads the file. If its content is unchanged, it returns before itself. A world-writable file would let everybody grant
// themselves every right, so it is refused.
func readUsers(path string, before *users) (*users, []sdk.Problem) {
	text, err := trustedfile.Read(path, maxFileBytes)
	if err != nil {
		return nil, []sdk.Problem{sdk.Problemf("", "%v", err)}
	}
	digest := sha256.Sum256(text)
	if before != nil && before.digest == digest {
		return before, nil
	}
	next, problems := parseUsers(text, before)
	if next != nil {
		next.digest = digest
	}
	return next, problems
}
