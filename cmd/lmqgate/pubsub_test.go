package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/testlog"
	"github.com/lmqgate/lmqgate/plugins/auth-hmac/credential"
)

const testSecret = "test-secret"

// broker is an MQTT broker of another project, so that pub and sub are tested against the protocol, not against this project's reading of
// it.
type broker struct {
	url    string
	port   string
	server *mochi.Server
}

// hmacHook admits user u with auth-hmac's password, and denies access to the topic "closed".
type hmacHook struct{ mochi.HookBase }

func (*hmacHook) ID() string { return "hmac" }

func (*hmacHook) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (*hmacHook) OnConnectAuthenticate(cl *mochi.Client, pk packets.Packet) bool {
	return string(pk.Connect.Username) == "u" && string(pk.Connect.Password) == credential.Password(testSecret, cl.ID)
}

func (*hmacHook) OnACLCheck(_ *mochi.Client, topic string, _ bool) bool { return topic != "closed" }

func startBroker(t *testing.T) broker {
	t.Helper()
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, server.AddHook(new(hmacHook), nil))
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	require.NoError(t, server.AddListener(l))
	require.NoError(t, server.Serve())
	t.Cleanup(func() { l.Close(func(string) {}) }) // the server's own Close races with connections that it accepts
	_, port, _ := strings.Cut(l.Address(), ":")
	return broker{url: "mqtt://" + l.Address(), port: port, server: server}
}

func (b broker) config(t *testing.T) string {
	t.Helper()
	return writeFile(t, "c.yaml", "listeners: [{type: ws, address: \":0\"}, {type: tcp, address: \":"+b.port+"\"}]\n"+
		"auth: {config: {users: [{username: u, secret_key: "+testSecret+"}]}}\n")
}

// session waits until the broker's session of a client is as wanted: the broker handles what a client sent, and tells subscribers of a
// message, after the client's command may have ended.
func (b broker) session(t *testing.T, client, what string, is func(*mochi.Client) bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, ok := b.server.Clients.Get(client)
		return ok && is(c)
	}, time.Minute, 5*time.Millisecond, what)
}

func TestSubPrintsWhatPubPublishes(t *testing.T) {
	b := startBroker(t)
	conf := b.config(t)
	for _, args := range [][]string{
		{"-m", "kept", "-r", "-q", "1"}, // retained, so the subscriber needs no head start
		{"-m", "", "-r", "-q", "2"},     // removed again
		{"-r", "-q", "2"},               // from standard input
	} {
		r := runCommand(t, "kept from stdin", append([]string{"pub", "--config", conf, "-t", "a/b"}, args...)...)
		require.Equal(t, result{}, r, args)
	}
	r := runCommand(t, "", "sub", "--config", conf, "-t", "a/#", "-q", "1", "-n", "1")
	require.Equal(t, result{0, "kept from stdin\n", ""}, r)
	r = runCommand(t, "", "sub", "--config", conf, "-t", "a/#", "-n", "1", "-v")
	require.Equal(t, result{0, "a/b kept from stdin\n", ""}, r)
}

func TestPubAndSubSpeakMQTT5(t *testing.T) {
	b := startBroker(t)
	conf := b.config(t)
	for _, qos := range []string{"0", "1", "2"} {
		r := runCommand(t, "", "pub", "--config", conf, "-V", "5", "-t", "five/"+qos, "-m", "kept "+qos, "-r", "-q", qos)
		require.Equal(t, result{}, r, qos)
		r = runCommand(t, "", "sub", "--config", conf, "-V", "mqttv5", "-t", "five/"+qos, "-q", qos, "-n", "1", "-v")
		require.Equal(t, result{0, "five/" + qos + " kept " + qos + "\n", ""}, r, qos)
		r = runCommand(t, "", "sub", "--config", conf, "-V", "311", "-t", "five/"+qos, "-q", qos, "-n", "1")
		require.Equal(t, result{0, "kept " + qos + "\n", ""}, r, qos)
	}
	r := runCommand(t, "", "pub", "--url", b.url, "-V", "5", "-t", "a", "-m", "b", "-u", "u", "-P", "wrong", "-i", "me")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `connect to `+b.url+` as "me": CONNACK 0x86, bad user name or password`)
	require.Contains(t, r.err, "; give --config, or -u and -P")
	r = runCommand(t, "", "pub", "--config", conf, "-V", "5", "-t", "closed", "-m", "b", "-q", "1")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `publish to "closed": `)
	require.Contains(t, r.err, "0x87, not authorized")
	r = runCommand(t, "", "sub", "--config", conf, "-V", "5", "-t", "closed", "-n", "1")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `subscription to "closed" refused: SUBACK 0x87, not authorized`)
	r = runCommand(t, "", "pub", "--port", "1", "-V", "5", "-t", "a", "-m", "b")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "connection refused; is the gateway running?")
	require.NotContains(t, r.err, "network Error")
}

// webServer answers whatever comes as an HTTP server answers what is not HTTP.
func webServer(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n"+
				"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request")
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestAServerOfAnotherKindIsToldApart(t *testing.T) {
	web, other := webServer(t), strings.TrimPrefix(startBroker(t).url, "mqtt://")
	for _, url := range []string{"mqtt://" + web, "ws://" + web + "/mqtt", "mqtts://" + web, "ws://" + other + "/mqtt"} {
		for _, version := range []string{"3.1.1", "5"} {
			r := runCommand(t, "", "pub", "--url", url, "-V", version, "-t", "a", "-m", "b")
			requireOneErrorLine(t, r)
			if strings.HasPrefix(url, "mqtts") {
				require.Contains(t, r.err, "no TLS is spoken there", version)
				continue
			}
			require.Contains(t, r.err, "is an MQTT listener there, and of this kind? --url names the kind", "%s with %s", url, version)
		}
	}
}

func TestAPersistentMQTT5SessionGetsOnlyWhatWasNotPrinted(t *testing.T) {
	b := startBroker(t)
	conf := b.config(t)
	sub := func(n string) result {
		return runCommand(t, "", "sub", "--config", conf, "-V", "5", "-i", "mine", "--persistent", "-t", "p/#", "-q", "1", "-n", n)
	}
	retained := runCommand(t, "", "pub", "--config", conf, "-t", "p/first", "-m", "first", "-q", "1", "-r")
	require.Equal(t, result{}, retained)
	require.Equal(t, result{0, "first\n", ""}, sub("1"))
	b.session(t, "mine", "its DISCONNECT was handled, and what came before", (*mochi.Client).Closed)
	require.Equal(t, result{}, runCommand(t, "", "pub", "--config", conf, "-t", "p/first", "-m", "", "-q", "1", "-r"))
	require.Equal(t, result{}, runCommand(t, "", "pub", "--config", conf, "-t", "p/second", "-m", "second", "-q", "1"))
	b.session(t, "mine", "both wait for it", func(c *mochi.Client) bool { return c.State.Inflight.Len() >= 2 })
	r := sub("2")
	require.Zero(t, r.status, r.err)
	require.ElementsMatch(t, []string{"", "second", ""}, strings.Split(r.out, "\n"), "the removal and the second, and not the first again")
}

func TestThePasswordComesFromAFileOrTheEnvironment(t *testing.T) {
	b := startBroker(t)
	password := credential.Password(testSecret, "me")
	file := writeFile(t, "password", password+"\n")
	base := []string{"pub", "--url", b.url, "-t", "a", "-m", "b", "-q", "1", "-u", "u", "-i", "me"}
	require.Equal(t, result{}, runCommand(t, "", append(base, "--password-file", file)...))
	in := func(value string, args ...string) (int, string) {
		var errOut bytes.Buffer
		status := run(t.Context(), append(base, args...), stdio{strings.NewReader(""), io.Discard, &errOut}, []string{"LMQGATE_PASSWORD=" + value})
		return status, errOut.String()
	}
	status, text := in(password)
	require.Zero(t, status, text)
	status, _ = in("wrong")
	require.Equal(t, exitFailed, status)
	status, text = in("wrong", "-P", password)
	require.Zero(t, status, text)
	status, text = in("wrong", "--password-file", file)
	require.Zero(t, status, text)

	r := runCommand(t, "", append(base, "--password-file", "/nowhere")...)
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "--password-file: open /nowhere: no such file or directory")
}

func TestSubEndsCleanlyWhenInterrupted(t *testing.T) {
	b := startBroker(t)
	conf := b.config(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out testlog.Buffer
	status := make(chan int, 1)
	go func() {
		status <- run(ctx, []string{"sub", "--config", conf, "-t", "x", "-q", "1"}, stdio{strings.NewReader(""), &out, io.Discard}, nil)
	}()
	require.Eventually(t, func() bool {
		r := runCommand(t, "", "pub", "--config", conf, "-t", "x", "-m", "m", "-q", "1")
		return r.status == 0 && strings.HasPrefix(out.String(), "m\n")
	}, time.Minute, 10*time.Millisecond)
	cancel()
	require.Zero(t, <-status)
}

// message counts its acknowledgements.
type message struct {
	mqtt.Message
	payload string
	acks    int
}

func (*message) Topic() string     { return "t" }
func (m *message) Payload() []byte { return []byte(m.payload) }
func (m *message) Ack()            { m.acks++ }

func TestOnlyWhatWasPrintedIsAcknowledged(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, left: 2, done: make(chan error, 1)}
	messages := []*message{{payload: "a"}, {payload: ""}, {payload: "c"}}
	for _, m := range messages {
		p.print(nil, m)
	}
	require.NoError(t, <-p.done)
	require.Equal(t, "a\n\n", out.String())
	require.Equal(t, []int{1, 1, 0}, []int{messages[0].acks, messages[1].acks, messages[2].acks},
		"the third comes again in the next call of a persistent session")
}

func TestARefusedClientIsToldWhy(t *testing.T) {
	b := startBroker(t)
	r := runCommand(t, "", "pub", "--url", b.url, "-t", "a", "-m", "b", "-u", "u", "-P", "wrong", "-i", "me")
	requireOneErrorLine(t, r)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, `connect to `+b.url+` as "me": not Authorized; give --config`)

	r = runCommand(t, "", "sub", "--config", b.config(t), "-t", "closed", "-n", "1")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, `subscription to "closed" refused`)

	r = runCommand(t, "", "pub", "--port", "1", "-t", "a", "-m", "b")
	requireOneErrorLine(t, r)
	require.Contains(t, r.err, "connection refused; is the gateway running?")
	require.NotContains(t, r.err, "network Error")
}
