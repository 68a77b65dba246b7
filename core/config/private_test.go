package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/exposed/exposedtest"
)

func TestAFileWithSecretsThatEverybodyMayReadIsRefused(t *testing.T) {
	dir := exposedtest.OpenDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700))
	const token = "admin: {token: 0123456789abcdef}\n"
	cases := []struct {
		name, text, at string
		mode           os.FileMode
		want           string // "" means accepted
	}{
		{"a token", token, "c.yaml", 0o644, "admin.token"},
		{"a token that is JSON", `{"admin": {"token": "0123456789abcdef"}}`, "c.yaml", 0o644, "admin.token"},
		{"a user's secret", "auth: {config: {users: [{username: demo, secret_key: demo-secret}, {username: u, secret_key: mine}]}}", "c.yaml", 0o604, "auth.config.users[1].secret_key"},
		{"a password of a plugin", "meta: {plugin: meta-etcd, config: {endpoints: [\"e:1\"], password: p}}", "c.yaml", 0o644, "meta.config.password"},
		{"a header of a plugin", "auth: {plugin: auth-http, config: {headers: {Authorization: Bearer}}}", "c.yaml", 0o644, "auth.config.headers.Authorization"},
		{"a password in a URL", "auth: {plugin: auth-http, config: {authenticate_url: \"https://u:p@example.com\"}}", "c.yaml", 0o644, "auth.config.authenticate_url"},
		{"RocketMQ's secret key", "store: {rocketmq: {access_key: a, secret_key: s}}", "c.yaml", 0o644, "store.rocketmq.secret_key"},
		{"read by the owner", token, "c.yaml", 0o600, ""},
		{"read by the group", token, "c.yaml", 0o640, ""},
		{"in a directory of the owner's", token, "closed/c.yaml", 0o644, ""},
		{"the demonstration user", "auth: {config: {users: [{username: demo, secret_key: demo-secret}]}}", "c.yaml", 0o644, ""},
		{"no secrets", "auth: {plugin: auth-file, config: {file: users.yaml, password_file: p}}\nplugins: {checksums: {auth-token: \"sha256:" + strings.Repeat("0", 64) + "\"}}\nadmin: {token: \"\"}", "c.yaml", 0o644, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(dir, c.at)
			require.NoError(t, os.WriteFile(path, []byte(c.text), c.mode))
			require.NoError(t, os.Chmod(path, c.mode))
			conf, err := Load(path, nil, []string{"LMQGATE_META__CONFIG__SECRET_KEY=of-the-environment"})
			require.NoError(t, err)
			err = conf.CheckPrivate()
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, path+": every user of this machine may read the secrets in it ("+c.want+"); run: chmod o-rwx "+path+", or give them in environment variables")
		})
	}
}

func TestALinkToAFileWithSecretsIsJudgedByTheFile(t *testing.T) {
	dir := exposedtest.OpenDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700))
	inside, link := filepath.Join(dir, "closed", "c.yaml"), filepath.Join(dir, "link.yaml")
	require.NoError(t, os.WriteFile(inside, []byte("admin: {token: 0123456789abcdef}\n"), 0o644))
	require.NoError(t, os.Chmod(inside, 0o644))
	require.NoError(t, os.Symlink(inside, link))
	conf, err := Load(link, nil, nil)
	require.NoError(t, err)
	require.NoError(t, conf.CheckPrivate())
	require.NoError(t, os.Chmod(filepath.Dir(inside), 0o755))
	require.ErrorContains(t, conf.CheckPrivate(), "admin.token")
}

func TestAPrivateKeyThatEverybodyMayReadIsRefused(t *testing.T) {
	key := filepath.Join(exposedtest.OpenDir(t), "key.pem")
	require.NoError(t, os.WriteFile(key, nil, 0o644))
	require.NoError(t, os.Chmod(key, 0o644))
	c := Default()
	c.Listeners = append(c.Listeners, Listener{Type: ListenerTLS, KeyFile: key})
	c.Admin.KeyFile = key
	err := c.CheckPrivate()
	require.Len(t, Problems(err), 2)
	require.ErrorContains(t, err, "listeners[2].key_file: every user of this machine may read the private key; run: chmod o-rwx "+key)
	require.NoError(t, os.Chmod(key, 0o640))
	require.NoError(t, c.CheckPrivate())
}
