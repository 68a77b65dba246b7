package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Entry is a value with its namespace and key.
type Entry struct {
	Namespace, Key string
	Value          []byte
}

// pageTimeout bounds the wait for the next page of a listing.
const pageTimeout = 30 * time.Second

// cursor returns entries in order of namespace and key, and nil after the last.
type cursor interface {
	next() (*Entry, error)
	close()
}

// scan is the cursor of a backend's namespaces.
type scan struct {
	ctx        context.Context
	cancel     context.CancelFunc
	client     pluginv1.MetaClient
	namespaces []string // the namespaces still to be listed, sorted
	current    string
	stream     interface {
		Recv() (*pluginv1.ListResponse, error)
	}
	watchdog *time.Timer
	page     []*pluginv1.Entry
	last     string
	any      bool
}

// newScan lists the namespaces, which must be sorted, one after another.
func newScan(ctx context.Context, client pluginv1.MetaClient, namespaces []string) *scan {
	return &scan{ctx: ctx, client: client, namespaces: namespaces}
}

func (s *scan) next() (*Entry, error) {
	for {
		if len(s.page) > 0 {
			e := s.page[0]
			s.page = s.page[1:]
			if s.any && e.GetKey() <= s.last {
				return nil, fmt.Errorf("list %s: the plugin gives key %q after %q; keys must come in order", s.current, e.GetKey(), s.last)
			}
			s.any, s.last = true, e.GetKey()
			return &Entry{s.current, e.GetKey(), e.GetValue()}, nil
		}
		if s.stream == nil {
			if len(s.namespaces) == 0 {
				return nil, nil //nolint:nilnil // the end
			}
			if err := s.begin(); err != nil {
				return nil, err
			}
		}
		s.watchdog.Reset(pageTimeout)
		resp, err := s.stream.Recv()
		s.watchdog.Stop()
		switch {
		case errors.Is(err, io.EOF):
			s.close()
		case err != nil:
			return nil, fmt.Errorf("list %s: %w", s.current, err)
		default:
			s.page = resp.GetEntries()
		}
	}
}

func (s *scan) begin() error {
	s.current, s.namespaces = s.namespaces[0], s.namespaces[1:]
	s.any = false
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(s.ctx)
	s.watchdog = time.AfterFunc(pageTimeout, s.cancel)
	stream, err := s.client.List(ctx, &pluginv1.ListRequest{Namespace: s.current})
	if err != nil {
		return fmt.Errorf("list %s: %w", s.current, err)
	}
	s.stream = stream
	return nil
}

func (s *scan) close() {
	if s.cancel != nil {
		s.watchdog.Stop()
		s.cancel()
	}
	s.stream = nil
}

// Sum is the sum of entries: their number, their size, and a digest over all of them in order.
type Sum struct {
	Entries int64
	Bytes   int64 // of keys and values
	hash    hash.Hash
}

func (s *Sum) add(e *Entry) {
	if s.hash == nil {
		s.hash = sha256.New()
	}
	s.Entries++
	s.Bytes += int64(len(e.Key) + len(e.Value))
	for _, part := range [][]byte{[]byte(e.Namespace), []byte(e.Key), e.Value} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		s.hash.Write(n[:])
		s.hash.Write(part)
	}
}

// Digest returns a SHA-256, in hexadecimal, over the entries in order of namespace and key. Each entry contributes its namespace, key and
// value, each preceded by its length as eight big-endian bytes.
func (s *Sum) Digest() string {
	if s.hash == nil {
		return hex.EncodeToString(sha256.New().Sum(nil))
	}
	return hex.EncodeToString(s.hash.Sum(nil))
}

// Equal reports whether two sums describe the same entries.
func (s *Sum) Equal(o *Sum) bool {
	return s.Entries == o.Entries && s.Bytes == o.Bytes && s.Digest() == o.Digest()
}
