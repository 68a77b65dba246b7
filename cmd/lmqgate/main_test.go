package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// result is the result of one command line.
type result struct {
	status   int
	out, err string
}

// runCommand runs one command line in this process.
func runCommand(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	status := run(t.Context(), append([]string{}, args...), stdio{strings.NewReader(stdin), &out, &errOut}, nil)
	return result{status, out.String(), errOut.String()}
}

// writeFile writes a file of the test's own directory and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// requireOneErrorLine checks the form of an error: one line.
func requireOneErrorLine(t *testing.T, r result) {
	t.Helper()
	require.NotZero(t, r.status)
	require.Equal(t, 1, strings.Count(r.err, "\n"), "%q", r.err)
	require.True(t, strings.HasPrefix(r.err, "lmqgate: "), "%q", r.err)
}

func TestAWrongCommandLineIsOneLineAndStatusTwo(t *testing.T) {
	cases := map[string][]string{
		`lmqgate has no command "serv"; did you mean serve?; see lmqgate --help`:    {"serv"},
		`lmqgate has no command "frobnicate"; see lmqgate --help`:                   {"frobnicate"},
		`lmqgate topic has no command "lst"; did you mean list?; see lmqgate topic`: {"topic", "lst"},
		`lmqgate completion has no command "bsh"; did you mean bash?`:               {"completion", "bsh"},
		"unknown flag: --confg; did you mean --config?; see lmqgate serve --help":   {"serve", "--confg", "x"},
		"in -config; did you mean --config?; see lmqgate topic list --help":         {"topic", "list", "-config", "x"},
		"-V wants 5 or 3.1.1, not \"4\"":                                            {"pub", "-t", "a", "-m", "b", "-V", "4"},
		"-o wants text or json, not \"yaml\"":                                       {"topic", "list", "-o", "yaml"},
		"-P and --password-file: give one of them":                                  {"pub", "-t", "a", "-m", "b", "-P", "p", "--password-file", "f"},
		"lmqgate meta wants a command: export, import, measure, migrate":            {"meta"},
		"unknown flag: --tls; see lmqgate pub --help":                               {"pub", "--tls"},
		"-o wants text or json, not \"yml\"":                                        {"topic", "-o", "yml"},
		`lmqgate topic has no command "make"; see lmqgate topic --help`:             {"topic", "make"},
		"lmqgate topic create wants NAME":                                           {"topic", "create"},
		`lmqgate topic create does not know what to do with "b"`:                    {"topic", "create", "a", "b"},
		"unknown flag: --nope; see lmqgate version --help":                          {"version", "--nope"},
		"unknown flag: --config; did you mean lmqgate serve --config?":              {"--config", "x"},
		"unknown flag: --config; did you mean lmqgate config check FILE?":           {"config", "check", "--config", "x"},
		"lmqgate pub wants a topic: -t TOPIC":                                       {"pub"},
		"-q wants 0, 1 or 2, not 3":                                                 {"pub", "-t", "a", "-m", "b", "-q", "3"},
		"lmqgate sub wants a topic filter: -t FILTER":                               {"sub"},
		"--persistent wants a client identifier: -i CLIENT-ID":                      {"sub", "-t", "a", "--persistent"},
		"lmqgate credentials wants a client identifier: --client-id ID":             {"credentials"},
		"lmqgate config import wants --service FILE and --connect FILE":             {"config", "import"},
		`--admin wants a URL such as http://127.0.0.1:8080, not "somewhere"`:        {"topic", "list", "--admin", "somewhere"},
		`--url wants mqtt, mqtts, ws, wss or unix, not "http"`:                      {"pub", "-t", "a", "-m", "b", "--url", "http://x"},
		"-n wants 1 or more, not 0":                                                 {"pub", "-t", "a", "-m", "b", "-n", "0"},
		`--qos wants a whole number, not "x"; see lmqgate pub --help`:               {"pub", "-q", "x"},
		`--count wants a smaller number, not "99999999999999999999"`:                {"sub", "-n", "99999999999999999999"},
		`--for wants a time such as 500ms, 30s or 2h, not "1"`:                      {"bans", "add", "user", "x", "--for", "1"},
		"--port wants a number from 1 to 65535, not 77777":                          {"pub", "-t", "a", "-m", "b", "--port", "77777"},
		`topic name "a/#" contains a wildcard`:                                      {"pub", "-t", "a/#", "-m", "b"},
		`topic filter "a/#/b": "#" must be the last level`:                          {"sub", "-t", "a/#/b"},
		`shared subscription "$share/g" has no filter after its group name`:         {"sub", "-t", "$share/g"},
		`lmqgate topic has no command "lst"; did you mean list?`:                    {"topic", "lst", "--config", "x"},
		`lmqgate has no command "servee"; did you mean serve?`:                      {"help", "servee"},
		`lmqgate config has no command "chek"; did you mean check?`:                 {"help", "config", "chek"},
		`--state wants connected, sleeping or all, not "awake"`:                     {"clients", "list", "--state", "awake"},
		`lmqgate log-level wants debug, info, warn or error, not "loud"`:            {"log-level", "loud"},
		`with "conf/a.yaml"; did you mean --config conf/a.yaml?`:                    {"serve", "conf/a.yaml"},
		`--kind wants refused or disconnected, not "lost"`:                          {"recent", "--kind", "lost"},
		`--over wants 0, or a time from 1s to 1h, not 10ms`:                         {"latency", "--over", "10ms"},
		`KIND wants address, user or client, not "usr"`:                             {"bans", "add", "usr", "x"},
		`lmqgate topic delete wants NAME; see lmqgate topic delete --help`:          {"topic", "delete"},
	}
	for want, args := range cases {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			r := runCommand(t, "", args...)
			requireOneErrorLine(t, r)
			require.Equal(t, exitUsage, r.status)
			require.Contains(t, r.err, want)
		})
	}
}

func TestTheCommandAloneHelps(t *testing.T) {
	r := runCommand(t, "")
	require.Zero(t, r.status)
	require.Contains(t, r.out, "credentials")
	require.Empty(t, r.err)
}

func TestVersionIsOneLine(t *testing.T) {
	for _, arg := range []string{"version", "--version"} {
		r := runCommand(t, "", arg)
		require.Zero(t, r.status)
		require.Regexp(t, `^lmqgate \S+ commit \S+ go1\S* \w+/\w+\n$`, r.out)
		require.Empty(t, r.err)
	}
}

func TestCompletionIsInTheHelpAndPrintsAScript(t *testing.T) {
	require.Regexp(t, `(?m)^  completion +Print a script`, runCommand(t, "").out)
	for _, shell := range []string{"bash", "zsh", "fish"} {
		r := runCommand(t, "", "completion", shell)
		require.Zero(t, r.status, r.err)
		require.Contains(t, r.out, "lmqgate")
	}
}

func TestConfigCheckTellsEveryProblemOnALine(t *testing.T) {
	good := writeFile(t, "good.yaml", "log: {level: debug}\nplugins: {dir: /nowhere}\n")
	r := runCommand(t, "", "config", "check", good)
	const missing = "because plugin \"%s\": plugins.dir /nowhere cannot be read: no such file or directory; build the plugins or correct plugins.dir\n"
	require.Equal(t, result{0, good + ": ok\n" +
		"not checked: auth.config, " + fmt.Sprintf(missing, "auth-hmac") + "not checked: meta.config, " + fmt.Sprintf(missing, "meta-namesrv"), ""}, r)

	bad := writeFile(t, "bad.yaml", "log: {level: loud}\nmqt: {}\n")
	r = runCommand(t, "", "config", "check", bad)
	require.Equal(t, exitFailed, r.status)
	require.Equal(t, "lmqgate: "+bad+":2: mqt: unknown key; the nearest known key is mqtt\n"+
		"lmqgate: "+bad+":1: log.level: \"loud\" wants debug, info, warn or error\n", r.err)

	r = runCommand(t, "", "config", "check", "/nowhere.yaml")
	requireOneErrorLine(t, r)
	require.Equal(t, exitFailed, r.status)

	r = runCommand(t, "", "config", "check", good, "--show", "--set", "admin.token=xyzzy-xyzzy-xyzzy")
	require.Zero(t, r.status)
	require.Contains(t, r.out, "level: debug")
	require.NotContains(t, r.out, "xyzzy")
}

func TestCredentialsAreThoseOfAuthHMAC(t *testing.T) {
	conf := writeFile(t, "c.yaml", "auth: {plugin: auth-hmac, config: {users: [{username: a, secret_key: ka}, {username: b, secret_key: kb}]}}\n")
	r := runCommand(t, "", "credentials", "--config", conf, "--client-id", "device-1")
	// printf device-1 | openssl dgst -sha1 -hmac ka -binary | base64
	require.Equal(t, result{0, "username=a\npassword=vtkRElk3lFiYc1/1sfgC64Bqkb0=\n", ""}, r)

	other := runCommand(t, "", "credentials", "--config", conf, "--client-id", "device-1", "-u", "b")
	require.Zero(t, other.status)
	require.Contains(t, other.out, "username=b\n")
	require.NotEqual(t, r.out, other.out)

	r = runCommand(t, "", "credentials", "--config", conf, "--client-id", "x", "-u", "c")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `auth.config.users has no user "c" with a secret_key`)

	r = runCommand(t, "", "credentials", "--config", conf, "--client-id", "x", "--set", "auth.plugin=none")
	requireOneErrorLine(t, r)
}

func TestACancelledContextEndsACommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	status := run(ctx, []string{"topic", "list", "--admin", "http://127.0.0.1:1"}, stdio{strings.NewReader(""), &out, &out}, nil)
	require.Equal(t, exitFailed, status)
}
