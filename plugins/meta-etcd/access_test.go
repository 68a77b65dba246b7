package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/meta-etcd/etcdtest"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
	"github.com/lmqgate/lmqgate/plugins/sdk"
)

func TestTLSWithClientCertificates(t *testing.T) {
	files, others := etcdtest.NewCertificates(t), etcdtest.NewCertificates(t)
	c := etcdtest.Start(t, etcdtest.Options{ClientTLS: transport.TLSInfo{
		CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: files.CA, ClientCertAuth: true}})
	with := func(t *testing.T, block map[string]any) *etcd {
		return activate(t, c.Endpoints(), map[string]any{"tls": block})
	}
	e := with(t, map[string]any{"enabled": true, "ca_file": files.CA, "cert_file": files.Cert, "key_file": files.Key})
	mustPut(t, e, put("a", "k", "v"))
	require.NoError(t, e.Health(t.Context()))
	e = with(t, map[string]any{"enabled": true, "insecure_skip_verify": true, "cert_file": files.Cert, "key_file": files.Key})
	require.Equal(t, "v", value(t, e, "a", "k"))

	e = with(t, map[string]any{"enabled": true, "ca_file": others.CA, "cert_file": files.Cert, "key_file": files.Key})
	refused := func(err error) bool { return err != nil && strings.Contains(err.Error(), "x509") }
	eventually(t, func() bool { return refused(e.Health(t.Context())) })
	eventually(t, func() bool {
		_, err := e.Put(t.Context(), put("a", "k", "w"))
		require.Equal(t, codes.Unavailable, status.Code(err), err)
		return refused(err)
	})
	e = with(t, map[string]any{"enabled": true, "ca_file": files.CA})
	require.Error(t, e.Health(t.Context()), "etcd wants a certificate")
	e = with(t, map[string]any{"enabled": false})
	require.Error(t, e.Health(t.Context()), "etcd wants TLS")

	// The files are read again at each handshake.
	renewed := etcdtest.Certificates{Cert: filepath.Join(t.TempDir(), "c.pem"), Key: filepath.Join(t.TempDir(), "k.pem")}
	install := func(from etcdtest.Certificates) {
		for to, from := range map[string]string{renewed.Cert: from.Cert, renewed.Key: from.Key} {
			pem, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(to, pem, 0o600))
		}
	}
	install(others)
	e = with(t, map[string]any{"enabled": true, "ca_file": files.CA, "cert_file": renewed.Cert, "key_file": renewed.Key})
	require.Error(t, e.Health(t.Context()))
	install(files)
	eventually(t, func() bool { return e.Health(t.Context()) == nil })
}

func TestUserAndPassword(t *testing.T) {
	ctx := t.Context()
	c := etcdtest.Start(t, etcdtest.Options{})
	admin := raw(t, clientv3.Config{Endpoints: c.Endpoints()})
	setUp := func(_ any, err error) { require.NoError(t, err) }
	setUp(admin.UserAdd(ctx, "root", "r"))
	setUp(admin.UserGrantRole(ctx, "root", "root"))
	setUp(admin.RoleAdd(ctx, "gateway"))
	setUp(
		admin.RoleGrantPermission(
			ctx,
			"gateway",
			"/lmqgate/",
			clientv3.GetPrefixRangeEnd("/lmqgate/"),
			clientv3.PermissionType(clientv3.PermReadWrite),
		),
	)
	setUp(admin.UserAdd(ctx, "gw", "secret"))
	setUp(admin.UserGrantRole(ctx, "gw", "gateway"))
	early := activate(t, c.Endpoints(), map[string]any{"username": "gw", "password": "secret"})
	mustPut(t, early, put("a", "k", "v")) // a password does no harm while etcd requires none
	setUp(admin.AuthEnable(ctx))

	as := func(user, password string) *etcd {
		return activate(t, c.Endpoints(), map[string]any{"username": user, "password": password})
	}
	e := as("gw", "secret")
	eventually(t, func() bool { return e.Health(ctx) == nil })
	f := watch(t, e, "a", "", mustPut(t, e, put("a", "k", "v")))
	ttl := put("a", "ttl", "v")
	ttl.TtlMs = 60_000
	mustPut(t, e, ttl)
	eventually(t, func() bool { return f.len() == 1 })
	require.Equal(t, "v", value(t, e, "a", "k"))
	eventually(t, func() bool { return early.Health(ctx) == nil })

	wrong := as("gw", "guess")
	eventually(t, func() bool { return wrong.Health(ctx) != nil })
	require.ErrorContains(t, wrong.Health(ctx), `refuses the password of user "gw"`)
	require.NotContains(t, wrong.Health(ctx).Error(), "guess")
	_, err := wrong.Put(ctx, put("a", "k", "w"))
	require.Equal(t, codes.Unauthenticated, status.Code(err), err)
	none := activate(t, c.Endpoints(), nil)
	require.ErrorContains(t, none.Health(ctx), "wants a user and a password")
	_, err = none.Get(ctx, &pluginv1.GetRequest{Namespace: "a", Key: "k"})
	require.Equal(t, codes.Unauthenticated, status.Code(err), err)
	elsewhere := activate(t, c.Endpoints(), map[string]any{"username": "gw", "password": "secret", "prefix": "/other"})
	require.ErrorContains(t, elsewhere.Health(ctx), `grant readwrite on the prefix "/other/"`)
	_, err = elsewhere.Put(ctx, put("a", "k", "w"))
	require.Equal(t, codes.PermissionDenied, status.Code(err), err)
	denied := watch(t, elsewhere, "a", "", 1)
	<-denied.ended
	require.Equal(t, codes.PermissionDenied, status.Code(denied.err), denied.err)

	// A plugin that is started while etcd is away logs in when it is back.
	c.Stop(0)
	waiting := as("gw", "secret")
	require.Error(t, waiting.Health(ctx))
	c.StartMembers()
	eventually(t, func() bool { return waiting.Health(ctx) == nil })
	tryPut(t, e, "a", "after the restart")
	tryPut(t, waiting, "a", "k")
}

func TestConfigurationsThatCannotWorkAreRefusedByKey(t *testing.T) {
	files := etcdtest.NewCertificates(t)
	for block, key := range map[string]string{
		`{}`:                                              "endpoints",
		`{"endpoints": []}`:                               "endpoints",
		`{"endpoints": ["etcd"]}`:                         "endpoints[0]",
		`{"endpoints": ["https://etcd:2379"]}`:            "endpoints[0]",
		`{"endpoints": ["a:1", "a:1"]}`:                   "endpoints[1]",
		`{"endpoint": ["a:1"], "endpoints": ["a:1"]}`:     "endpoint",
		`{"endpoints": ["a:1"], "username": "u"}`:         "password",
		`{"endpoints": ["a:1"], "request_timeout": "0s"}`: "request_timeout",
		`{"endpoints": ["a:1"], "tls": {"enabled": true, "ca_file": "/none.pem"}}`:                        "tls.ca_file",
		`{"endpoints": ["a:1"], "tls": {"enabled": true, "ca_file": "` + files.Key + `"}}`:                "tls.ca_file",
		`{"endpoints": ["a:1"], "tls": {"enabled": true, "cert_file": "x.pem"}}`:                          "tls.key_file",
		`{"endpoints": ["a:1"], "tls": {"enabled": true, "cert_file": "/none.pem", "key_file": "k.pem"}}`: "tls.cert_file",
	} {
		problems := newEtcd().Configure(t.Context(), sdk.Setup{Config: []byte(block)})
		require.Len(t, problems, 1, block)
		require.Equal(t, key, problems[0].Key, block)
	}
	e := newEtcd()
	require.Empty(t, e.Configure(t.Context(), sdk.Setup{Config: []byte(`{"endpoints": ["a:1"], "prefix": "/x/"}`)}))
	require.Equal(t, "/x/LMQ/k", e.keys.name("LMQ", "k"))
	_, err := e.Get(t.Context(), &pluginv1.GetRequest{Namespace: "a", Key: "k"})
	require.Equal(t, codes.Unavailable, status.Code(err), "not active")
}

func FuzzNamesAreDistinct(f *testing.F) {
	f.Add("a", "b/c", "a/b", "c")
	f.Add("a%2F", "b", "a/", "b")
	f.Fuzz(func(t *testing.T, ns1, key1, ns2, key2 string) {
		k := newKeys("/lmqgate")
		if k.name(ns1, key1) == k.name(ns2, key2) && (ns1 != ns2 || key1 != key2) {
			t.Fatalf("%q %q and %q %q have one name", ns1, key1, ns2, key2)
		}
	})
}
