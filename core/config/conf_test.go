package config

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheShippedFilesLoad(t *testing.T) {
	cases := map[string]struct{ meta, store string }{
		"standalone.yaml": {"meta-local", StoreLocal},
		"lmqgate.yaml":    {"meta-namesrv", StoreRocketMQ},
		"etcd.yaml":       {"meta-etcd", StoreRocketMQ},
	}
	files, err := filepath.Glob("../../conf/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, len(cases), "a file without a test, or a test without a file")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := Load(file, nil, nil)
			require.NoError(t, err)
			require.NoError(t, c.CheckPrivate(), "everybody may read a fresh clone")
			want := cases[filepath.Base(file)]
			require.Equal(t, want.meta, c.Meta.Plugin)
			require.Equal(t, want.store, c.Store.Type)
			require.Equal(t, DefaultAuthPlugin, c.Auth.Plugin)
			require.NotEmpty(t, c.Auth.Config["users"])
			require.Equal(t, []Listener{
				{Type: ListenerTCP, Address: "127.0.0.1:1883"},
				{Type: ListenerWS, Address: "127.0.0.1:8083", Path: "/mqtt"},
			}, c.Listeners, "loopback only")
			require.Equal(t, "127.0.0.1:8080", c.Admin.Address)
		})
	}
}
