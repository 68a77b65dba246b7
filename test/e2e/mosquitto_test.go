package e2e

import (
	"bufio"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mosquitto runs Debian's mosquitto-clients against a gateway.
type mosquitto struct {
	t        *testing.T
	g        *Gateway
	sub, pub string // the programs
}

func mosquittoClients(t *testing.T, g *Gateway) *mosquitto {
	t.Helper()
	return &mosquitto{t: t, g: g, sub: program(t, "mosquitto_sub", "the Debian package mosquitto-clients"),
		pub: program(t, "mosquitto_pub", "the Debian package mosquitto-clients")}
}

// as returns the arguments that log in as the demo user.
func (m *mosquitto) as(id string, args ...string) []string {
	return m.login(id, user, m.g.password(id), args...)
}

func (m *mosquitto) login(id, username, password string, args ...string) []string {
	host, port, err := net.SplitHostPort(m.g.TCP)
	require.NoError(m.t, err)
	return append([]string{"-h", host, "-p", port, "-i", id, "-u", username, "-P", password}, args...)
}

// publish publishes with mosquitto_pub and requires success.
func (m *mosquitto) publish(args ...string) {
	m.t.Helper()
	execute(m.t, time.Minute, m.pub, m.as(m.g.Name("mosquitto_pub"), args...)...).OK()
}

// listener is a running mosquitto_sub.
type listener struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

// format prints topic, QoS, retain flag and payload of a message.
const format = "%t|%q|%r|%p"

// listen starts mosquitto_sub and waits until the gateway has its subscriptions.
func (m *mosquitto) listen(id string, args ...string) *listener {
	m.t.Helper()
	cmd := exec.Command(m.sub, m.as(id, append([]string{"-F", format}, args...)...)...)
	cmd.SysProcAttr = dieWithTest()
	out, err := cmd.StdoutPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, cmd.Start())
	l := &listener{t: m.t, cmd: cmd, lines: make(chan string, 1000)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			l.lines <- scan.Text()
		}
		_ = cmd.Wait()
	}()
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	filters := 0
	for _, a := range args {
		if a == "-t" {
			filters++
		}
	}
	m.g.AwaitSubscriptions(id, filters)
	return l
}

// expect requires the next lines, in this order.
func (l *listener) expect(lines ...string) {
	l.t.Helper()
	for _, want := range lines {
		select {
		case got := <-l.lines:
			require.Equal(l.t, want, got)
		case <-time.After(patience):
			l.t.Fatalf("mosquitto_sub printed nothing within %v; wanted %q", patience, want)
		}
	}
}

func (l *listener) kill(sig syscall.Signal) {
	l.t.Helper()
	require.NoError(l.t, l.cmd.Process.Signal(sig))
}

// read runs mosquitto_sub until it has n messages, and returns the lines.
func (m *mosquitto) read(id, n string, args ...string) []string {
	m.t.Helper()
	out := execute(m.t, patience, m.sub, m.as(id, append([]string{"-F", format, "-C", n, "-W", "60"}, args...)...)...).OK()
	return strings.Split(strings.TrimSpace(out), "\n")
}

// Proves 3.1.1: [MQTT-7.0.0-2] [MQTT-7.1.1-1]
func TestMosquittoAtEachQoSAndWithWildcards(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		topic := g.Topic("mosquitto")
		exact := m.listen("exact", "-t", topic+"/a/temp", "-q", "2")
		plus := m.listen("plus", "-t", topic+"/+/temp", "-q", "1")
		hash := m.listen("hash", "-t", topic+"/#", "-q", "0")
		overlapping := m.listen("overlapping", "-t", topic+"/#", "-t", topic+"/+/temp", "-q", "2", "-V", "mqttv5")
		m.publish("-t", topic+"/a/temp", "-m", "zero", "-q", "0")
		exact.expect(topic + "/a/temp|0|0|zero") // QoS 0 has no acknowledgement to wait for
		m.publish("-t", topic+"/a/temp", "-m", "one", "-q", "1")
		m.publish("-t", topic+"/a/temp", "-m", "two", "-q", "2", "-V", "mqttv5")
		m.publish("-t", topic+"/b/temp", "-m", "other", "-q", "2")
		m.publish("-t", topic+"/a/temp", "-m", "last", "-q", "2", "-V", "mqttv31")
		exact.expect(topic+"/a/temp|1|0|one", topic+"/a/temp|2|0|two", topic+"/a/temp|2|0|last")
		plusLines := []string{topic + "/a/temp|0|0|zero", topic + "/a/temp|1|0|one", topic + "/a/temp|1|0|two"}
		plus.expect(plusLines...)
		hash.expect(topic+"/a/temp|0|0|zero", topic+"/a/temp|0|0|one", topic+"/a/temp|0|0|two")
		overlapping.expect(topic+"/a/temp|0|0|zero", topic+"/a/temp|1|0|one", topic+"/a/temp|2|0|two")
	})
}

func TestMosquittoRetainedMessages(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		topic := g.Topic("retained")
		m.publish("-t", topic+"/a", "-m", "first", "-q", "1", "-r")
		m.publish("-t", topic+"/b", "-m", "b", "-q", "1", "-r")
		require.Equal(t, []string{topic + "/a|1|1|first"}, m.read("r1", "1", "-t", topic+"/a", "-q", "1"))
		require.ElementsMatch(t, []string{topic + "/a|1|1|first", topic + "/b|1|1|b"}, m.read("r2", "2", "-t", topic+"/+", "-q", "2"))

		online := m.listen("online", "-t", topic+"/a", "-q", "1")
		online.expect(topic + "/a|1|1|first")
		m.publish("-t", topic+"/a", "-m", "second", "-q", "1", "-r")
		online.expect(topic + "/a|1|0|second") // to an existing subscription, without the flag
		require.Equal(t, []string{topic + "/a|0|1|second"}, m.read("r3", "1", "-t", topic+"/a", "-q", "0"))

		m.publish("-t", topic+"/a", "-n", "-q", "1", "-r")
		online.expect(topic + "/a|1|0|")
		require.Equal(t, []string{topic + "/b|1|1|b"}, m.read("r4", "1", "-t", topic+"/#", "-q", "1"))

		g.Restart()
		require.Equal(t, []string{topic + "/b|1|1|b"}, m.read("r5", "1", "-t", topic+"/#", "-q", "1"))
	})
}

func TestMosquittoOfflineQueueing(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		topic := g.Topic("offline")
		id := g.Name("device")
		execute(t, time.Minute, m.sub, m.as(id, "-c", "-q", "1", "-t", topic+"/#", "-E")...).OK()
		m.publish("-t", topic+"/x", "-m", "one", "-q", "1")
		g.Kill()
		g.Start()
		m.publish("-t", topic+"/y", "-m", "two", "-q", "2")
		require.ElementsMatch(t, []string{topic + "/x|1|0|one", topic + "/y|1|0|two"}, m.read(id, "2", "-c", "-q", "1", "-t", topic+"/#"))
	})
}

func TestMosquittoWill(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		topic := g.Topic("will")
		watcher := m.listen("watcher", "-t", topic+"/will/#", "-q", "1")
		will := []string{"--will-topic", topic + "/will/dead", "--will-payload", "gone", "--will-qos", "1"}
		// A clean DISCONNECT publishes no will.
		m.listen("clean", append([]string{"-t", topic + "/none"}, will...)...).kill(syscall.SIGTERM)
		victim := m.listen("victim", append([]string{"-t", topic + "/none", "--will-retain"}, will...)...)
		victim.kill(syscall.SIGKILL)
		watcher.expect(topic + "/will/dead|1|0|gone")
		// A will has no publisher that waits until it is retained.
		eventually(t, patience, func() error {
			r := execute(t, time.Minute, m.sub, m.as("late", "-F", format, "-C", "1", "-W", "5", "-t", topic+"/will/#", "-q", "1")...)
			if r.code != 0 || r.stdout != topic+"/will/dead|1|1|gone\n" {
				return fmt.Errorf("the will is not retained: %q %s", r.stdout, r.stderr)
			}
			return nil
		})
		m.publish("-t", topic+"/will/end", "-m", "end", "-q", "1")
		watcher.expect(topic + "/will/end|1|0|end") // and nothing before it
	})
}

func TestWrongCredentialsAreRefusedWithTheirCode(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		cases := map[string][]string{
			"wrong password":           m.login("device", user, "wrong"),
			"unknown user":             m.login("device", "nobody", g.password("device")),
			"password of another user": m.login("device", user, g.auth.password(t, ruledUser, "device")),
		}
		if g.auth == hmacScheme {
			cases["password of another client"] = m.login("device", user, Password("other"))
		}
		for name, args := range cases {
			for version, want := range map[string]string{"mqttv311": "bad user name or password", "mqttv5": "Bad User Name or Password"} {
				r := execute(t, time.Minute, m.pub, append(args, "-V", version, "-t", "x", "-m", "x", "-q", "1")...)
				require.NotZero(t, r.code, "%s, %s", name, version)
				require.Contains(t, strings.ToLower(r.stderr), strings.ToLower(want), "%s, %s", name, version)
			}
		}
		require.Equal(t, []byte{0x20, 2, 0, 0x04}, connack(t, g.TCP, 4, "device", user, "wrong")[:4])
		answer := connack(t, g.TCP, 5, "device", user, "wrong")
		require.Equal(t, byte(0x20), answer[0])
		require.Equal(t, byte(0x86), answer[3])
		require.NotContains(t, g.Log(), secret)
		require.NotContains(t, g.Log(), tokenSecret)
		require.NotContains(t, g.Log(), g.password("device"))
	})
}

// connack sends CONNECT as bytes, and returns the bytes of the answer.
func connack(t *testing.T, address string, level byte, id, username, password string) []byte {
	t.Helper()
	nc, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	defer nc.Close()
	require.NoError(t, nc.SetDeadline(time.Now().Add(patience)))
	text := func(s string) []byte { return append([]byte{byte(len(s) >> 8), byte(len(s))}, s...) }
	body := append(text("MQTT"), level, 0xC2, 0, 60)
	if level == 5 {
		body = append(body, 0) // no properties
	}
	for _, s := range []string{id, username, password} {
		body = append(body, text(s)...)
	}
	require.Less(t, len(body), 128)
	_, err = nc.Write(append([]byte{0x10, byte(len(body))}, body...))
	require.NoError(t, err)
	answer := make([]byte, 256)
	n, err := nc.Read(answer)
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, 4)
	return answer[:n]
}

func TestRulesDecideWhatAUserMayDo(t *testing.T) {
	t.Parallel()
	withEachPlugin(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		g.CLI("topic", "create", ruledUser, "--config", g.config(), "--admin", "http://"+g.Admin).OK()
		id := g.Name("device")
		login := func(args ...string) []string {
			return m.login(id, ruledUser, g.auth.password(t, ruledUser, id), args...)
		}

		watcher := m.listen("watcher", "-t", ruledUser+"/#", "-q", "1")
		execute(t, time.Minute, m.pub, login("-t", ruledUser+"/out/"+id, "-m", "mine", "-q", "1")...).OK()
		watcher.expect(ruledUser + "/out/" + id + "|1|0|mine")
		for _, topic := range []string{ruledUser + "/out/another", ruledUser + "/in/" + id, "elsewhere/x"} {
			for _, version := range []string{"mqttv311", "mqttv5"} {
				r := execute(t, time.Minute, m.pub, login("-t", topic, "-m", "not mine", "-q", "1", "-V", version)...)
				require.True(
					t,
					r.code != 0 || strings.Contains(strings.ToLower(r.stderr), "not authorized"),
					"%s %s: %d %s%s",
					version,
					topic,
					r.code,
					r.stdout,
					r.stderr,
				)
			}
		}
		r := execute(t, time.Minute, m.sub, login("-t", ruledUser+"/#", "-W", "60", "-d")...)
		require.Contains(t, r.stdout+r.stderr, "denied")
		execute(t, time.Minute, m.sub, login("-t", ruledUser+"/in/#", "-E", "-q", "1")...).OK()
		m.publish("-t", ruledUser+"/in/x", "-m", "end", "-q", "1")
		watcher.expect(ruledUser + "/in/x|1|0|end") // nothing denied arrived before
	})
}

func TestTheCommandsOfTheReadmeWork(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		first := g.Name("cli")
		admin := []string{"--config", g.config(), "--admin", "http://" + g.Admin}
		topic := func(args ...string) result { return g.CLI(append(append([]string{"topic"}, args...), admin...)...) }
		topic("create", first, "--queues", "2").OK()
		require.Contains(t, strings.Split(topic("list").OK(), "\n"), first)

		var answer struct {
			Topics []struct {
				Name   string
				Queues int
			}
		}
		g.GetJSON("/api/v1/topics", &answer)
		require.Contains(t, func() (names []string) {
			for _, a := range answer.Topics {
				names = append(names, a.Name)
			}
			return names
		}(), first)

		out := g.CLI("credentials", "--config", g.config(), "--client-id", "my-device").OK()
		require.Equal(t, "username="+user+"\npassword="+Password("my-device")+"\n", out)

		// pub and sub as processes, on a port that is not in the configuration.
		login := func(id string, args ...string) []string {
			return append(args, "--url", "mqtt://"+g.TCP, "-i", id, "-u", user, "-P", Password(id))
		}
		g.CLI(login("pub", "pub", "-t", first+"/kept", "-m", "kept", "-q", "1", "-r")...).OK()
		require.Equal(t, first+"/kept kept\n", g.CLI(login("sub", "sub", "-t", first+"/#", "-q", "1", "-v", "-n", "1")...).OK())
		refused := g.CLI("pub", "--url", "mqtt://"+g.TCP, "-i", "pub", "-u", user, "-P", "wrong", "-t", first+"/x", "-m", "x")
		require.Equal(t, 1, refused.code)
		require.Equal(t, 1, strings.Count(refused.stderr, "\n"), refused.stderr)

		topic("delete", first).OK()
		require.NotContains(t, strings.Split(topic("list").OK(), "\n"), first)
		gone := topic("delete", first)
		require.Equal(t, 1, gone.code)
		require.Contains(t, gone.stderr, first)
		bad := topic("create", "a/b")
		require.Equal(t, 1, bad.code)
		require.Equal(t, 1, strings.Count(bad.stderr, "\n"), bad.stderr)

		r := execute(t, time.Minute, filepath.Join(bin, "lmqgate"), "config", "check", g.config())
		r.OK()
	})
}
