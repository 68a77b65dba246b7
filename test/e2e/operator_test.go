package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
)

// operate runs a command that talks to the gateway, as its operator.
func (g *Gateway) operate(args ...string) result {
	g.t.Helper()
	return g.CLI(append(args, "--config", g.config(), "--admin", "http://"+g.Admin)...)
}

func TestAnOperatorSeesHowFarASleepingClientIsBehind(t *testing.T) {
	onOneNode(t, oneProcess)
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		topic := g.Topic("T")
		sleeper := g.connect(t, "sleeper", persistent)
		sleeper.subscribe(topic+"/#", 1)
		sleeper.subscribe(topic+"/other", 1)
		sleeper.leave()
		group := "$share/" + g.Name("group") + "/" + topic + "/#"
		worker := g.connect5(t, "worker")
		worker.subscribe(paho.SubscribeOptions{Topic: group, QoS: 1})
		require.Contains(t, g.operate("subscriptions", "--filter", group).OK(), "worker")
		require.Regexp(t, regexp.QuoteMeta(group)+` +1 +0\n`, g.operate("groups").OK())
		worker.leave()
		pub := g.connect(t, "pub")
		for i := range 20 {
			pub.publish(topic+"/a", 1, fmt.Sprint(i))
		}
		backlog := func() (total int, by map[string]int) {
			var c struct {
				Connected bool
				Backlog   int
				Details   []struct {
					Filter   string
					Messages int
				} `json:"subscriptions_detail"`
			}
			require.NoError(t, json.Unmarshal([]byte(g.operate("clients", "show", "sleeper", "-o", "json").OK()), &c))
			by = map[string]int{}
			for _, d := range c.Details {
				by[d.Filter] = d.Messages
			}
			return c.Backlog, by
		}
		eventually(t, patience, func() error {
			if total, by := backlog(); total != 20 || by[topic+"/#"] != 20 || by[topic+"/other"] != 0 {
				return fmt.Errorf("backlog is %d: %v", total, by)
			}
			return nil
		})
		require.Contains(t, g.operate("clients", "list", "--state", "sleeping").OK(), "sleeper")
		require.NotContains(t, g.operate("clients", "list").OK(), "sleeper")
		require.Contains(t, g.operate("subscriptions", "--client-id", "sleeper", "--matching", topic+"/other").OK(), topic+"/#")

		require.Regexp(t, `(?m)^sleeper .* 20$`, g.operate("sessions", "list", "--backlog", "--prefix", "sleeper").OK())
		require.Regexp(t, `(?m)^sleeper .* 20$`, g.operate("clients", "list", "--backlog", "--state", "all").OK())
		eventually(t, patience, func() error {
			if out := g.operate("groups").OK(); !regexp.MustCompile(regexp.QuoteMeta(group) + ` +0 +20\n`).MatchString(out) {
				return fmt.Errorf("the groups are %s", out)
			}
			return nil
		})
		eventually(t, patience, func() error {
			_, metrics := g.Get("/metrics")
			out := g.operate("backlog").OK()
			if !strings.Contains(metrics, `lmqgate_backlog_session_messages{client_id="sleeper"} 20`) ||
				!regexp.MustCompile(`(?m)^sleeper +20$`).MatchString(out) {
				return fmt.Errorf("what was counted is %s", out)
			}
			return nil
		})

		back := g.connect(t, "sleeper", persistent)
		back.await(20)
		eventually(t, patience, func() error {
			if total, by := backlog(); total != 0 {
				return fmt.Errorf("backlog is %d: %v", total, by)
			}
			return nil
		})
		g.operate("clients", "kick", "sleeper").OK()
		r := g.operate("clients", "show", "nobody")
		require.Equal(t, 1, r.code)
		require.Contains(t, r.stderr, `there is no client "nobody"`)
	})
}

func TestAnOperatorWatchesAClient(t *testing.T) {
	g := start(t, localProfile)
	topic := g.Topic("T")
	r := g.operate("trace")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, "wants --client-id, --topic or --address")
	r = g.operate("trace", "--topic", "a/#/b")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, `"a/#/b"`)
	seen := make(chan string, 1)
	go func() { seen <- g.operate("trace", "--client-id", "watched", "--limit", "3", "--for", "2m").OK() }()
	eventually(t, patience, func() error { // until the watch exists
		c := g.connect(t, "watched")
		c.publish(topic+"/a", 1, "x")
		c.Disconnect(100)
		select {
		case out := <-seen:
			require.Contains(t, out, "watched")
			require.NotContains(t, out, "connected from -")
			require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 3)
			return nil
		default:
			return fmt.Errorf("nothing was traced")
		}
	})
}

func TestABackupOfARunningGatewayIsRestoredWithItsSessionsAndMessages(t *testing.T) {
	g := start(t, localProfile)
	topic := g.Topic("T")
	sleeper := g.connect(t, "sleeper", persistent)
	sleeper.subscribe(topic+"/#", 1)
	sleeper.leave()
	pub := g.connect(t, "pub")
	pub.publish(topic+"/a", 1, "before")
	pub.publishRetain(topic+"/lamp", 1, true, "on")
	require.Contains(t, g.operate("limits").OK(), "mqtt.max_connections")
	dir := strings.TrimSpace(g.operate("backup").OK())
	pub.publish(topic+"/a", 1, "after")
	pub.Disconnect(100)
	g.Stop()

	data := filepath.Join(g.dir, "data")
	kept := filepath.Join(g.dir, "kept")
	require.NoError(t, os.Rename(dir, kept))
	require.NoError(t, os.RemoveAll(data))
	require.NoError(t, os.Mkdir(data, 0o700))
	require.NoError(t, os.Rename(filepath.Join(kept, "store"), filepath.Join(data, "store")))
	g.CLI("meta", "import", "--config", g.config(), filepath.Join(kept, "metadata.jsonl")).OK()
	g.Start()
	back := g.connect(t, "sleeper", persistent)
	require.True(t, back.present)
	var got []string
	for _, m := range back.await(2) {
		got = append(got, string(m.Payload()))
	}
	require.ElementsMatch(t, []string{"before", "on"}, got)
	require.Equal(t, "on", g.operate("retained", "get", topic+"/lamp").OK())
	g.connect(t, "pub").publish(topic+"/a", 1, "again")
	require.Equal(t, "again", string(back.await(3)[2].Payload()))
}

func TestAnOperatorKeepsRetainedMessages(t *testing.T) {
	g := start(t, localProfile)
	topic := g.Topic("T")
	g.operate("retained", "set", topic+"/lamp", "-m", "on").OK()
	c := g.connect(t, "c")
	c.subscribe(topic+"/#", 1)
	require.Equal(t, "on", string(c.await(1)[0].Payload()))
	require.Equal(t, "on", g.operate("retained", "get", topic+"/lamp").OK())
	require.Contains(t, g.operate("retained", "list", "--filter", topic+"/+").OK(), topic+"/lamp")
	g.operate("retained", "delete", topic+"/lamp").OK()
	r := g.operate("retained", "get", topic+"/lamp")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.stderr, "nothing is retained")
}

func TestAnOperatorChangesTheLogLevelOfARunningGateway(t *testing.T) {
	g := start(t, localProfile)
	require.Equal(t, "info\n", g.operate("log-level").OK())
	require.Equal(t, "debug\n", g.operate("log-level", "debug").OK())
	r := g.operate("log-level", "loud")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.stderr, `wants debug, info, warn or error, not "loud"`)
	require.Contains(t, g.Log(), "an operator set the log level")
	require.Contains(t, g.operate("nodes").OK(), "answers")
}
