package meta

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmqgate/lmqgate/core/limits"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Bans by operators outlive the nodes that were told of them: each is a key of NamespaceBans, "{kind}/{name}", until it ends.

const (
	// mostBans bounds the bans by operators. On a backend with a limit of keys, they may use the bansShare-th part of it.
	mostBans  = 4096
	bansShare = 20
	// bansSwept is the interval in which the leading node removes bans that have ended, from a backend without TTL.
	bansSwept = time.Minute
)

// bans holds the bans of the metadata.
type bans struct {
	m *Meta

	mu      sync.Mutex
	of      map[string]limits.Ban // by key
	changed bool
}

type banRecord struct {
	header
	Reason string `json:"reason,omitempty"`
	Until  int64  `json:"until_ms"`
}

func newBans(m *Meta) *bans { return &bans{m: m, of: map[string]limits.Ban{}} }

func banKey(kind, name string) string { return kind + "/" + name }

// applyKey applies one key of NamespaceBans.
func (b *bans) applyKey(key string, e *pluginv1.Entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.changed = true
	if e == nil {
		delete(b.of, key)
		return
	}
	ban, err := readBan(key, e.GetValue())
	if err != nil {
		b.m.invalid(NamespaceBans, key, err)
		delete(b.of, key)
		return
	}
	b.of[key] = ban
}

func readBan(key string, value []byte) (limits.Ban, error) {
	var r banRecord
	if err := decode(NamespaceBans, key, value, &r); err != nil {
		return limits.Ban{}, err
	}
	kind, name, _ := strings.Cut(key, "/")
	if !slices.Contains([]string{limits.ByAddress, limits.ByUser, limits.ByClient}, kind) || name == "" || r.Until <= 0 {
		return limits.Ban{}, fmt.Errorf(
			"%s %q is no ban: the key is address/NAME, user/NAME or client/NAME, and until_ms says when it ends; correct it or remove the key",
			NamespaceBans, key)
	}
	return limits.Ban{Kind: kind, Name: name, Reason: r.Reason, Until: fromMillis(r.Until)}, nil
}

func (b *bans) takeChanged() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := b.changed
	b.changed = false
	return changed
}

// Bans returns the bans by operators that have not ended, in no particular order.
func (m *Meta) Bans() []limits.Ban {
	m.bans.mu.Lock()
	defer m.bans.mu.Unlock()
	out := make([]limits.Ban, 0, len(m.bans.of))
	for _, ban := range m.bans.of {
		if time.Now().Before(ban.Until) {
			out = append(out, ban)
		}
	}
	return out
}

// SetBan records a ban by an operator, in place of an earlier one. When it returns, the ban is durable and Bans returns it. The end of the
// ban is rounded down to a millisecond. Errors: ErrUnavailable, ErrLimit.
func (m *Meta) SetBan(ctx context.Context, ban limits.Ban) error {
	if err := m.loaded(NamespaceBans); err != nil {
		return err
	}
	key := banKey(ban.Kind, ban.Name)
	most := mostBans
	if keys := int(m.traits().GetMaxKeys()); keys > 0 {
		most = min(most, max(1, keys/bansShare))
	}
	m.bans.mu.Lock()
	_, replaces := m.bans.of[key]
	full := len(m.bans.of) >= most && !replaces
	m.bans.mu.Unlock()
	if full {
		return fmt.Errorf("%w: the metadata holds %d bans already; remove some first", ErrLimit, most)
	}
	value := encode(&banRecord{header{recordVersion}, ban.Reason, ban.Until.UnixMilli()})
	if _, err := m.writer.write(ctx, put(NamespaceBans, key, value, max(time.Until(ban.Until), time.Millisecond))); err != nil {
		return fmt.Errorf("record the ban of %s %q: %w", ban.Kind, ban.Name, err)
	}
	return nil
}

// RemoveBan removes a ban by an operator from the metadata, and reports whether there was one.
func (m *Meta) RemoveBan(ctx context.Context, kind, name string) (bool, error) {
	if err := m.loaded(NamespaceBans); err != nil {
		return false, err
	}
	key := banKey(kind, name)
	m.bans.mu.Lock()
	_, known := m.bans.of[key]
	m.bans.mu.Unlock()
	if !known {
		return false, nil
	}
	if _, err := m.writer.write(ctx, remove(NamespaceBans, key)); err != nil {
		return false, fmt.Errorf("remove the ban of %s %q: %w", kind, name, err)
	}
	return true, nil
}

// run removes bans that have ended, until ctx ends. Only the leading node does.
func (b *bans) run(ctx context.Context) {
	t := time.NewTicker(bansSwept)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if b.m.nodes.leads() {
				b.sweep(ctx, time.Now())
			}
		}
	}
}

func (b *bans) sweep(ctx context.Context, now time.Time) {
	b.mu.Lock()
	var over []string
	for key, ban := range b.of {
		if now.After(ban.Until) {
			over = append(over, key)
		}
	}
	b.mu.Unlock()
	err := b.m.removeOver(ctx, NamespaceBans, over, func(key string) bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		ban, there := b.of[key]
		return there && now.After(ban.Until)
	})
	if err != nil {
		b.m.log.Debug("bans that have ended are not removed yet", "error", err)
	}
}
