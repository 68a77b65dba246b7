package e2e

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	paho5 "github.com/eclipse/paho.golang/paho"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"
)

func TestMosquittoRequestsAndIsAnswered(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, p profile) {
		g := start(t, p)
		m := mosquittoClients(t, g)
		rr := program(t, "mosquitto_rr", "the Debian package mosquitto-clients")
		topic := g.Topic("request")
		answering := g.connect5(t, g.Name("answering"))
		answering.subscribe(paho5.SubscribeOptions{Topic: topic + "/ask/#", QoS: 1})
		var answers sync.WaitGroup
		defer answers.Wait() // the answer may arrive before it is acknowledged
		answering.AddOnPublishReceived(func(r paho5.PublishReceived) (bool, error) {
			answers.Go(func() {
				answering.publish(
					&paho5.Publish{Topic: r.Packet.Properties.ResponseTopic, QoS: 1, Payload: append([]byte("answer to "), r.Packet.Payload...),
						Properties: &paho5.PublishProperties{CorrelationData: r.Packet.Properties.CorrelationData}},
				)
			})
			return true, nil
		})
		out := execute(
			t,
			patience,
			rr,
			m.as(g.Name("asking"), "-t", topic+"/ask/x", "-e", topic+"/answers/1", "-m", "question", "-q", "1", "-W", "60",
				"-D", "publish", "correlation-data", "7", "-F", "%t %p %D")...).OK()
		require.Equal(t, topic+"/answers/1 answer to question 7\n", out)
	})
}

func TestListenersBehindLoadBalancersOnSocketFilesAndForOtherPages(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "lmq") //nolint:usetesting // a socket's path has to be short
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "mqtt.sock")
	g := start(t, localProfile, settings{"listeners": []settings{
		{"type": "tcp", "address": "127.0.0.1:0", "proxy_protocol": settings{"from": []string{"127.0.0.0/8"}}},
		{"type": "unix", "path": socket, "permissions": "0660"},
		{"type": "ws", "address": "127.0.0.1:0", "allowed_origins": []string{"https://app.example.com"}},
	}})
	info, err := os.Stat(socket)
	require.NoError(t, err)
	require.Equal(t, os.ModeSocket|0o660, info.Mode())

	client := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
	behind := g.connect(t, g.Name("behind"), func(o *paho.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(_ *url.URL, _ clientOptions) (net.Conn, error) {
			nc, err := net.Dial("tcp", g.TCP)
			if err == nil {
				_, err = proxyproto.HeaderProxyFromAddrs(2, client, nc.RemoteAddr()).WriteTo(nc)
			}
			return nc, err
		})
	})
	behind.subscribe("T/x", 1)
	var clients struct {
		Clients []struct {
			ClientID      string `json:"client_id"`
			RemoteAddress string `json:"remote_address"`
		}
	}
	g.GetJSON("/api/v1/clients", &clients)
	require.Len(t, clients.Clients, 1)
	require.Equal(t, client.String(), clients.Clients[0].RemoteAddress)

	pub := program(t, "mosquitto_pub", "the Debian package mosquitto-clients")
	execute(
		t,
		time.Minute,
		pub,
		"--unix",
		socket,
		"-i",
		"local",
		"-u",
		user,
		"-P",
		Password("local"),
		"-t",
		"T/x",
		"-m",
		"by socket",
		"-q",
		"1",
	).OK()
	require.Equal(t, "by socket", string(behind.await(1)[0].Payload()))
	g.CLI("pub", "--url", "unix://"+socket, "-i", "cli", "-u", user, "-P", Password("cli"), "-t", "T/x", "-m", "by our own", "-q", "1").OK()
	require.Equal(t, "by our own", string(behind.await(2)[1].Payload()))

	for origin, allowed := range map[string]bool{"https://app.example.com": true, "https://evil.example.com": false, "http://" + g.WS: true} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ws, resp, err := websocket.Dial(
			ctx,
			"ws://"+g.WS+"/mqtt",
			&websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{"Origin": {origin}}},
		) //nolint:bodyclose // websocket does
		cancel()
		if !allowed {
			require.Error(t, err)
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
			require.Contains(t, g.Log(), "allowed_origins")
			continue
		}
		require.NoError(t, err, origin)
		_ = ws.CloseNow()
	}
	g.Stop()
	_, err = os.Stat(socket)
	require.ErrorIs(t, err, os.ErrNotExist)
}
