package pluginhost

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// testConfig steers a test plugin.
type testConfig struct {
	Secret string `config:"secret,secret"`
	Mode   string `config:"mode"`
	File   string `config:"file"`
}

// testAuth is an auth plugin that does what its configuration says, and what user names ask for.
type testAuth struct {
	name string
	cfg  testConfig
	log  *slog.Logger
}

func (t *testAuth) Info() sdk.Info {
	return sdk.Info{Name: t.name, Version: "1.2.3", Config: testConfig{}, Exclusive: true}
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
	t.log.Warn("activated", "answer", 42, "plugin", "impostor")
	return nil
}

func (t *testAuth) Deactivate(context.Context) error {
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
	switch req.GetConnection().GetUsername() {
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
	return &pluginv1.AuthorizeResponse{}, nil
}

func (t *testAuth) Revocations(ctx context.Context, send func(*pluginv1.Revocation) error) error {
	if err := send(&pluginv1.Revocation{ClientId: "first"}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

type testMeta struct{ sdk.MetaPlugin }

func (t *testMeta) Info() sdk.Info                                         { return sdk.Info{Name: "plug-meta", Version: "1"} }
func (t *testMeta) Traits() *pluginv1.MetaTraits                           { return &pluginv1.MetaTraits{Ttl: true} }
func (t *testMeta) Configure(_ context.Context, _ sdk.Setup) []sdk.Problem { return nil }
func (t *testMeta) Activate(context.Context) error                         { return nil }
func (t *testMeta) Deactivate(context.Context) error                       { return nil }
func (t *testMeta) Health(context.Context) error                           { return nil }

func (t *testMeta) Get(_ context.Context, req *pluginv1.GetRequest) (*pluginv1.GetResponse, error) {
	return &pluginv1.GetResponse{Found: true, Entry: &pluginv1.Entry{Key: req.GetKey(), Value: []byte("v")}}, nil
}

func (t *testMeta) List(_ context.Context, req *pluginv1.ListRequest, send func(*pluginv1.ListResponse) error) error {
	for i := range 3 {
		if err := send(&pluginv1.ListResponse{Revision: int64(i + 1)}); err != nil {
			return err
		}
	}
	return nil
}

// exit ends a test plugin's process.
func exit(status int) {
	os.Exit(status)
}

// install copies this test's binary into dir under a plugin's name.
func install(t *testing.T, dir, name string) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
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

// pluginDir is an empty directory that is fit for plugins.
func pluginDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// newHost is a host with the named plugins installed, quick in all it does, that is closed with the test.
func newHost(t *testing.T, names ...string) (*Host, *logBuffer) {
	t.Helper()
	dir, logs := pluginDir(t), &logBuffer{}
	for _, name := range names {
		install(t, dir, name)
	}
	h, err := New(Options{
		Dir: dir, NodeID: "n1", DataDir: t.TempDir(), ConfigDir: t.TempDir(),
		Log: slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		timing: timing{
			startup: 5 * time.Second, handshake: 3 * time.Second,
			healthEvery: 100 * time.Millisecond, healthTimeout: 500 * time.Millisecond,
			firstPause: 20 * time.Millisecond, lastPause: 200 * time.Millisecond,
			callAuth: 8 * time.Second, deactivate: time.Second, exit: time.Second, breakerOpen: 200 * time.Millisecond,
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
	require.Eventually(t, condition, 10*time.Second, 10*time.Millisecond, what)
}

// logBuffer is a log that a test reads while plugins write.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
