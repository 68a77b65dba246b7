package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/internal/testlog"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// testConfig controls a test plugin.
type testConfig struct {
	Secret string `config:"secret,secret"`
	Mode   string `config:"mode"`
	File   string `config:"file"`
	Says   string `config:"says"`
	Lock   string `config:"lock"`
}

// testAuth is an auth plugin that does what its configuration says, and what user names ask for.
type testAuth struct {
	name string
	cfg  testConfig
	log  *slog.Logger
	lock *os.File
	// hoard is memory that it does not release.
	hoard []byte
}

func (t *testAuth) Info() sdk.Info {
	return sdk.Info{Name: t.name, Version: ownVersion(), Config: testConfig{}, Exclusive: strings.HasPrefix(t.name, "plug-lock")}
}

// versionMark precedes the version at the end of an executable that installVersion made.
const versionMark = "\nversion of this test plugin: "

// ownVersion returns the version that installVersion appended to this executable.
func ownVersion() string {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return "1.2.3"
	}
	defer f.Close()
	end := make([]byte, 64)
	size, _ := f.Seek(0, io.SeekEnd)
	if _, err := f.ReadAt(end, size-int64(len(end))); err != nil {
		return "1.2.3"
	}
	if _, version, ok := strings.Cut(string(end), versionMark); ok {
		return version
	}
	return "1.2.3"
}

func (t *testAuth) Configure(_ context.Context, s sdk.Setup) []sdk.Problem {
	t.log = s.Log
	if problems := s.Decode(&t.cfg); len(problems) > 0 {
		return problems
	}
	switch t.cfg.Mode {
	case "refuse":
		return []sdk.Problem{sdk.Problemf("secret", "is too short"), sdk.Problemf("", "is no good\nat all")}
	case "hang-configure":
		time.Sleep(time.Hour)
	case "die-configure":
		t.log.Error("my database schema is too old", "error", "version 3")
		exit(4)
	case "panic-configure":
		panic("surprise")
	}
	return nil
}

func (t *testAuth) Activate(context.Context) error {
	if t.cfg.Mode == "no-activate" {
		return errors.New("data.db is held by process 17")
	}
	if t.cfg.Lock != "" {
		f, err := os.OpenFile(t.cfg.Lock, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return err
		}
		if !tryLock(f) {
			f.Close()
			return errors.New("the lock is held by another process")
		}
		t.lock = f
	}
	t.log.Warn("activated", "answer", 42, "plugin", "impostor")
	return nil
}

func (t *testAuth) Deactivate(context.Context) error {
	if t.lock != nil {
		t.lock.Close()
	}
	if t.cfg.File != "" {
		return os.WriteFile(t.cfg.File, []byte("deactivated"), 0o600)
	}
	return nil
}

func (t *testAuth) Health(context.Context) error {
	if t.cfg.Mode == "unwell" {
		return errors.New("my database is away")
	}
	return nil
}

func (t *testAuth) Authenticate(_ context.Context, req *pluginv1.AuthenticateRequest) (*pluginv1.AuthenticateResponse, error) {
	switch t.cfg.Mode {
	case "die-authenticate":
		exit(7)
	case "hang-authenticate":
		time.Sleep(time.Hour)
	case "cannot-judge":
		return &pluginv1.AuthenticateResponse{Reason: pluginv1.Reason_REASON_UNAVAILABLE, Detail: "no users yet"}, nil
	}
	switch req.GetConnection().GetUsername() {
	case "says":
		return &pluginv1.AuthenticateResponse{Detail: t.cfg.Says}, nil
	case "hog":
		t.hoard = bytes.Repeat([]byte{1}, 256<<20)
	case "breed":
		if err := breed(t.cfg.File); err != nil {
			return nil, err
		}
	case "slow":
		time.Sleep(300 * time.Millisecond)
	case "crash":
		exit(5)
	case "panic":
		panic("at the disco")
	case "hang":
		time.Sleep(time.Hour)
	case "unavailable":
		return nil, status.Error(codes.Unavailable, "my database is away")
	case "huge":
		return &pluginv1.AuthenticateResponse{Detail: strings.Repeat("x", 17<<20)}, nil
	case "env":
		return &pluginv1.AuthenticateResponse{Detail: strings.Join(os.Environ(), "\n")}, nil
	}
	return &pluginv1.AuthenticateResponse{Identity: "tested"}, nil
}

func (t *testAuth) Authorize(_ context.Context, req *pluginv1.AuthorizeRequest) (*pluginv1.AuthorizeResponse, error) {
	resp := &pluginv1.AuthorizeResponse{}
	for range req.GetActions() {
		resp.Decisions = append(resp.Decisions, &pluginv1.Decision{Allow: true})
	}
	if t.cfg.Mode == "too-few-decisions" {
		resp.Decisions = resp.Decisions[1:]
	}
	return resp, nil
}

func (t *testAuth) Revocations(ctx context.Context, send func(*pluginv1.Revocation) error) error {
	if err := send(&pluginv1.Revocation{ClientId: "first"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// testMeta is a meta plugin that keeps its data in memory; its configuration sets the initial data.
type testMeta struct {
	sdk.MetaPlugin
	name string

	mu   sync.Mutex
	data map[string]string
}

type testMetaConfig struct {
	Data map[string]string `config:"data"`
	Mode string            `config:"mode"`
}

func (t *testMeta) Info() sdk.Info {
	return sdk.Info{Name: t.name, Version: ownVersion(), Config: testMetaConfig{}}
}

func (t *testMeta) Traits() *pluginv1.MetaTraits { return &pluginv1.MetaTraits{Ttl: true} }

func (t *testMeta) Configure(_ context.Context, s sdk.Setup) []sdk.Problem {
	var cfg testMetaConfig
	if problems := s.Decode(&cfg); len(problems) > 0 {
		return problems
	}
	t.data = cfg.Data
	if t.data == nil {
		t.data = map[string]string{}
	}
	if cfg.Mode == "finds-everything" {
		t.data = nil
	}
	return nil
}

func (t *testMeta) Activate(context.Context) error   { return nil }
func (t *testMeta) Deactivate(context.Context) error { return nil }
func (t *testMeta) Health(context.Context) error     { return nil }

func (t *testMeta) Get(_ context.Context, req *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, found := t.data[req.GetKey()]
	return &pluginv1.GetResponse{Found: found || t.data == nil, Entry: &pluginv1.Entry{Key: req.GetKey(), Value: []byte(v)}}, nil
}

func (t *testMeta) Put(_ context.Context, req *pluginv1.PutRequest) (*pluginv1.PutResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data[req.GetKey()] = string(req.GetValue())
	return &pluginv1.PutResponse{Done: true, Revision: 1}, nil
}

// List sends a page for each key.
func (t *testMeta) List(_ context.Context, req *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(t.data)) {
		if req.GetNamespace() == pingNamespace || !strings.HasPrefix(key, req.GetPrefix()) {
			continue
		}
		page := &pluginv1.ListResponse{Revision: 1, Entries: []*pluginv1.Entry{{Key: key, Value: []byte(t.data[key])}}}
		if err := send(page); err != nil {
			return err
		}
	}
	return nil
}

// breed starts processes that outlive the plugin, and writes their ids to path.
func breed(path string) error {
	var pids strings.Builder
	for range 20 {
		cmd := exec.Command("sleep", "600")
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Fprintln(&pids, cmd.Process.Pid)
	}
	return os.WriteFile(path, []byte(pids.String()), 0o600)
}

// exit ends a test plugin's process.
func exit(status int) {
	os.Exit(status)
}

// install puts the plugins' binary into dir under a plugin's name.
func install(t testing.TB, dir, name string) string {
	t.Helper()
	self := pluginBinary(t)
	path := filepath.Join(dir, name)
	if os.Link(self, path) == nil {
		require.NoError(t, os.Chmod(path, 0o755))
		return path
	}
	in, err := os.Open(self)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
	require.NoError(t, os.Chmod(path, 0o755))
	return path
}

// installVersion installs a plugin that reports the given version.
func installVersion(t *testing.T, dir, name, version string) string {
	t.Helper()
	text, err := os.ReadFile(pluginBinary(t))
	require.NoError(t, err)
	path := filepath.Join(dir, name)
	// Like an installer: the running file is not overwritten; a new file takes its name. No process may be started meanwhile: it would have
	// the file open for writing until it executes its own, and a file that somebody may write cannot be executed.
	syscall.ForkLock.RLock()
	err = os.WriteFile(path+".new", append(text, versionMark+version...), 0o755)
	syscall.ForkLock.RUnlock()
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path+".new", 0o755))
	require.NoError(t, os.Rename(path+".new", path))
	return path
}

// pluginDir returns an empty directory that is suitable as plugins.dir.
func pluginDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// newHost returns a host with the named plugins installed; it is closed with the test. Its checks are frequent and its pauses short. Bounds
// on a plugin that works are long, because on a busy machine a process takes seconds to start and a call may take long. A test that waits
// for such a bound shortens it before it starts a plugin.
func newHost(t testing.TB, names ...string) (*Host, *testlog.Buffer) {
	t.Helper()
	dir, logs := pluginDir(t), &testlog.Buffer{}
	for _, name := range names {
		install(t, dir, name)
	}
	h, err := New(Options{
		Dir: dir, NodeID: "n1", DataDir: t.TempDir(), ConfigDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		timing: timing{
			startup: 20 * time.Second, handshake: time.Minute,
			memoryEvery: 50 * time.Millisecond, healthEvery: 100 * time.Millisecond, healthTimeout: 20 * time.Second,
			firstPause: 20 * time.Millisecond, lastPause: 200 * time.Millisecond, waitLive: time.Minute,
			callAuth: time.Minute, callMeta: time.Minute, heal: 5 * time.Second, ping: 5 * time.Second,
			deactivate: 10 * time.Second, exit: 10 * time.Second, breakerOpen: 200 * time.Millisecond,
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, h.Close())
		if t.Failed() {
			t.Log(logs.String())
		}
	})
	return h, logs
}

func startAuth(t *testing.T, h *Host, name string, config map[string]any) *Plugin {
	t.Helper()
	p, err := h.Start(t.Context(), name, pluginv1.Kind_KIND_AUTH, config)
	require.NoError(t, err)
	return p
}

func ask(p *Plugin, user string) (*pluginv1.AuthenticateResponse, error) {
	return p.Auth().Authenticate(context.Background(), &pluginv1.AuthenticateRequest{
		Connection: &pluginv1.Connection{ClientId: "c", Username: user, HasUsername: true},
	})
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, 10*time.Millisecond, what)
}

// freeze stops a child process and returns once it has stopped: after the signal is sent, a process on a busy machine may still run for a
// while.
func freeze(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	var status syscall.WaitStatus
	_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
	require.NoError(t, err)
	require.True(t, status.Stopped(), "it has ended")
}
