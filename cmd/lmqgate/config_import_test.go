package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
)

func TestImportedFilesAreAConfiguration(t *testing.T) {
	service := writeFile(t, "service.conf", "username=admin\nsecretKey = s\\:3\"cret \n# comment\nNAMESRV_ADDR=mq1:9876;mq2:9876\n"+
		"eventNotifyRetryTopic=e\nclientRetryTopic=r\nmetaAddr=127.0.0.1:25000\nmyOwn=1\n")
	connect := writeFile(t, "connect.conf", "mqttPort=2883\nmqttWsPort=2888\nenableTlsSever=true\nneedClientAuth=true\nmaxConn=5000\nmaxPacketSizeInByte=65536\nhighWater=1\n")
	meta := writeFile(t, "meta.conf", "selfAddress=127.0.0.1:25000\n")
	r := runCommand(t, "", "config", "import", "--service", service, "--connect", connect, "--meta", meta)
	require.Zero(t, r.status, r.err)
	for _, note := range []string{
		"# NOTE: service.conf: metaAddr=127.0.0.1:25000 not carried over: there is no meta cluster",
		"# NOTE: service.conf: myOwn=1 not carried over: unknown to this importer",
		"# NOTE: connect.conf: highWater=1 not carried over",
		"# NOTE: meta.conf: selfAddress=127.0.0.1:25000 not carried over",
	} {
		require.Contains(t, r.out, note)
	}

	dir := t.TempDir()
	for _, name := range []string{"mqtt.crt", "mqtt.key", "client-ca.crt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	path := filepath.Join(dir, "lmqgate.yaml")
	require.NoError(t, os.WriteFile(path, []byte(r.out), 0o600))
	c, err := config.Load(path, nil, nil)
	require.NoError(t, err)
	require.Equal(t, []config.Listener{
		{Type: "tcp", Address: ":2883"},
		{Type: "ws", Address: ":2888", Path: "/mqtt"},
		{
			Type: "tls", Address: ":8883", CertFile: filepath.Join(dir, "mqtt.crt"), KeyFile: filepath.Join(dir, "mqtt.key"),
			ClientCAFile: filepath.Join(dir, "client-ca.crt"),
		},
	}, c.Listeners)
	require.Equal(t, []string{"mq1:9876", "mq2:9876"}, c.Store.RocketMQ.Namesrv)
	require.Equal(t, []any{"mq1:9876", "mq2:9876"}, c.Meta.Config["namesrv"])
	require.Equal(t, config.PluginConfig{"users": []any{map[string]any{"username": "admin", "secret_key": `s:3"cret`}}}, c.Auth.Config)
	require.Equal(t, config.Size(65536), c.MQTT.MaxPacketSize)
	require.Equal(t, 5000, c.MQTT.MaxConnections)
	require.Equal(t, 100, c.Limits.Identity.Share, "all clients are one user")
}

func TestAnImportOfEmptyFilesSaysWhatIsMissing(t *testing.T) {
	empty := writeFile(t, "x.conf", "")
	r := runCommand(t, "", "config", "import", "--service", empty, "--connect", empty)
	require.Zero(t, r.status, r.err)
	require.Contains(t, r.out, "service.conf has no username and secretKey")
	require.Contains(t, r.out, "service.conf has no NAMESRV_ADDR")
	_, err := config.Load(writeFile(t, "c.yaml", r.out), nil, nil)
	require.NoError(t, err)

	r = runCommand(t, "", "config", "import", "--service", "/nowhere", "--connect", empty)
	requireOneErrorLine(t, r)
}

func TestAnImportKeepsCharactersThatYAMLForbids(t *testing.T) {
	const odd = "a\x7f\u0080\u0085\u009f\ufeff\ufffe\uffff\b\u2028z"
	in := importer{
		service: map[string]string{"username": odd, "secretKey": "s" + odd}, connect: map[string]string{"k" + odd: odd}, meta: map[string]string{},
	}
	c, err := config.Load(writeFile(t, "c.yaml", string(in.yaml())), nil, nil)
	require.NoError(t, err)
	require.Equal(t, config.PluginConfig{"users": []any{map[string]any{"username": odd, "secret_key": "s" + odd}}}, c.Auth.Config)
}

func TestPropertiesAreReadAsJavaReadsThem(t *testing.T) {
	got := parseProperties("a=1\n b : 2\nc 3\n! no\n#no\nd=x\\\n   y\ne\\ f=g\\u0041\\n\nh\ni=\nj=a=b\r\nlast=\\")
	require.Equal(t, map[string]string{
		"a": "1", "b": "2", "c": "3", "d": "xy", "e f": "gA\n", "h": "", "i": "", "j": "a=b", "last": "",
	}, got)
}

func FuzzImport(f *testing.F) {
	f.Add("username=a\nsecretKey=b", "mqttPort=1", "x=y")
	f.Add("NAMESRV_ADDR=\\u00", "maxConn=-1\\", "\\\\")
	f.Fuzz(func(t *testing.T, service, connect, meta string) {
		in := importer{service: parseProperties(service), connect: parseProperties(connect), meta: parseProperties(meta)}
		path := filepath.Join(t.TempDir(), "c.yaml")
		require.NoError(t, os.WriteFile(path, in.yaml(), 0o600))
		_, err := config.Load(path, nil, nil)
		for _, p := range config.Problems(err) {
			require.NotEmpty(t, p.Key, "hostile settings may be refused, but never break the YAML: %s", p)
		}
	})
}

func TestAnImportedFileIsClosedToOthers(t *testing.T) {
	service := writeFile(t, "service.conf", "username=u\nsecretKey=mine\nNAMESRV_ADDR=127.0.0.1:9876\n")
	connect := writeFile(t, "connect.conf", "mqttPort=1883\n")
	path := filepath.Join(t.TempDir(), "imported.yaml")
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer out.Close()
	require.NoError(t, out.Chmod(0o644))
	require.Zero(t, run(t.Context(), []string{"config", "import", "--service", service, "--connect", connect}, stdio{strings.NewReader(""), out, io.Discard}, nil))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	c, err := config.Load(path, nil, nil)
	require.NoError(t, err)
	require.NoError(t, c.CheckPrivate())
}
