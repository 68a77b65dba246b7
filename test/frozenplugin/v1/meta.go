package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/test/frozenplugin/v1/pluginv1"
)

// item is one entry as the file has it.
type item struct {
	Namespace, Key string
	Value          []byte
	Revision       int64
}

// store is a map in memory that is written to a file as a whole at each change.
type store struct {
	mu       sync.Mutex
	lock     *os.File
	path     string
	Revision int64
	Items    map[string]*item
}

func id(ns, key string) string { return ns + "\x00\x00" + key }

func openStore(path string) (*store, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		_ = lock.Close()
		return nil, errors.New(path + " is held by another process")
	}
	s := &store{lock: lock, path: path, Items: map[string]*item{}}
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, s)
	} else if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *store) close() { _ = s.lock.Close() }

// save writes the file anew, so that a process that is killed leaves the old one or the new one.
func (s *store) save() error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(s.path+".new", s.path)
}

func entry(it *item) *pluginv1.Entry {
	return &pluginv1.Entry{Namespace: it.Namespace, Key: it.Key, Value: it.Value, Revision: it.Revision}
}

func target(op *pluginv1.Operation) (ns, key string, expect *pluginv1.Expect) {
	if p := op.GetPut(); p != nil {
		return p.GetNamespace(), p.GetKey(), p.GetExpect()
	}
	d := op.GetDelete()
	return d.GetNamespace(), d.GetKey(), d.GetExpect()
}

// apply carries out operations whole or not at all.
func (s *store) apply(ops []*pluginv1.Operation) (resp *pluginv1.BatchResponse, current *pluginv1.Entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range ops {
		if ns, _, _ := target(op); op.GetKind() == nil || ns == "" {
			return nil, nil, status.Error(codes.InvalidArgument, "an operation is neither put nor delete, or has no namespace")
		}
	}
	before, revision := map[string]*item{}, s.Revision
	undo := func() {
		s.Revision = revision
		for key, it := range before {
			if it == nil {
				delete(s.Items, key)
			} else {
				s.Items[key] = it
			}
		}
	}
	for i, op := range ops {
		ns, key, expect := target(op)
		at := id(ns, key)
		have := s.Items[at]
		if expect != nil && (have == nil && expect.GetRevision() != 0 || have != nil && have.Revision != expect.GetRevision()) {
			undo()
			if have = s.Items[at]; have != nil {
				current = entry(have)
			}
			return &pluginv1.BatchResponse{FailedIndex: uint32(i), Revision: s.Revision}, current, nil
		}
		if _, known := before[at]; !known {
			before[at] = have
		}
		if p := op.GetPut(); p != nil {
			s.Revision++
			s.Items[at] = &item{Namespace: ns, Key: key, Value: p.GetValue(), Revision: s.Revision}
		} else if have != nil {
			s.Revision++
			delete(s.Items, at)
		}
	}
	if err := s.save(); err != nil {
		undo()
		return nil, nil, status.Error(codes.Unavailable, err.Error())
	}
	return &pluginv1.BatchResponse{Done: true, Revision: s.Revision}, nil, nil
}

// metaService serves the store.
type metaService struct {
	pluginv1.UnimplementedMetaServer
	plugin *frozen
}

func (m *metaService) store() (*store, error) {
	m.plugin.mu.Lock()
	defer m.plugin.mu.Unlock()
	if m.plugin.store == nil {
		return nil, errNotActive
	}
	return m.plugin.store, nil
}

func (m *metaService) Get(_ context.Context, req *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if it := s.Items[id(req.GetNamespace(), req.GetKey())]; it != nil {
		return &pluginv1.GetResponse{Found: true, Entry: entry(it)}, nil
	}
	return &pluginv1.GetResponse{}, nil
}

func (m *metaService) List(req *pluginv1.ListRequest, stream grpc.ServerStreamingServer[pluginv1.ListResponse]) error {
	s, err := m.store()
	if err != nil {
		return err
	}
	s.mu.Lock()
	var found []*pluginv1.Entry
	for _, it := range s.Items {
		if it.Namespace == req.GetNamespace() && strings.HasPrefix(it.Key, req.GetPrefix()) {
			found = append(found, entry(it))
		}
	}
	revision := s.Revision
	s.mu.Unlock()
	sort.Slice(found, func(i, j int) bool { return found[i].GetKey() < found[j].GetKey() })
	page, size := &pluginv1.ListResponse{Revision: revision}, 0
	for _, e := range found {
		if req.GetPageSize() > 0 && len(page.GetEntries()) >= int(req.GetPageSize()) || size > 1<<20 {
			if err := stream.Send(page); err != nil {
				return err
			}
			page, size = &pluginv1.ListResponse{Revision: revision}, 0
		}
		page.Entries = append(page.Entries, e)
		size += len(e.GetKey()) + len(e.GetValue())
	}
	return stream.Send(page)
}

func (m *metaService) Put(_ context.Context, req *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	resp, current, err := s.apply([]*pluginv1.Operation{{Kind: &pluginv1.Operation_Put{Put: req}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.PutResponse{Done: resp.GetDone(), Revision: resp.GetRevision(), Current: current}, nil
}

func (m *metaService) Delete(_ context.Context, req *pluginv1.DeleteRequest) (*pluginv1.DeleteResponse, error) {
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	resp, current, err := s.apply([]*pluginv1.Operation{{Kind: &pluginv1.Operation_Delete{Delete: req}}})
	if err != nil {
		return nil, err
	}
	return &pluginv1.DeleteResponse{Done: resp.GetDone(), Revision: resp.GetRevision(), Current: current}, nil
}

func (m *metaService) Batch(_ context.Context, req *pluginv1.BatchRequest) (*pluginv1.BatchResponse, error) {
	s, err := m.store()
	if err != nil {
		return nil, err
	}
	resp, _, err := s.apply(req.GetOperations())
	return resp, err
}
