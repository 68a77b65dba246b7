package doctor

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/remoting"
)

// fakeRocketMQ is a name server and a master broker at one address, that tell what real ones with a fault tell: a disk that fills, a wrong
// clock or another version cannot be planted in a real broker. TestABrokerWithoutLightMessageQueuesAndWithAnotherTimeIsFound asks a real one.
type fakeRocketMQ struct {
	version  int
	runtime  map[string]string // nil: the broker refuses to tell
	settings map[string]string // nil: likewise
	broker   string            // its address; empty: none is registered
	noMaster bool
	queues   []remoting.QueueData // of the topic "Farm"
}

// withRocketMQ lets the patient use a healthy RocketMQ that change may spoil.
func (p *patient) withRocketMQ(change func(*fakeRocketMQ)) {
	p.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = ln.Close() })
	now := time.Now()
	f := &fakeRocketMQ{version: remoting.Version5_4_0, broker: ln.Addr().String(),
		runtime: map[string]string{"bootTimestamp": fmt.Sprint(now.UnixMilli()), "runtime": "[ 0 days, 0 hours, 0 minutes, 0 seconds ]",
			"commitLogDiskRatio": "0.5"},
		settings: map[string]string{"enableLmq": "true", "enableMultiDispatch": "true", "brokerConfigPath": "/etc/broker.conf"},
		queues:   []remoting.QueueData{{BrokerName: "a", Perm: remoting.PermReadWrite}}}
	change(f)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go f.serve(nc)
		}
	}()
	p.c.Store.Type, p.c.Store.RocketMQ.Namesrv = config.StoreRocketMQ, []string{ln.Addr().String()}
	p.o.RocketMQ = remoting.New(remoting.Config{})
	p.t.Cleanup(func() { _ = p.o.RocketMQ.Close() })
	p.o.ValidTopic = func(name string) bool { return name == "Farm" }
}

func (f *fakeRocketMQ) serve(nc net.Conn) {
	defer nc.Close()
	in := bufio.NewReader(nc)
	for {
		var length uint32
		if binary.Read(in, binary.BigEndian, &length) != nil {
			return
		}
		frame := make([]byte, length)
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		asked, err := remoting.DecodeFrame(frame)
		if err != nil {
			return
		}
		answer := f.answer(asked)
		answer.Version, answer.Opaque, answer.Flag = f.version, asked.Opaque, 1
		out, err := answer.AppendFrame(nil)
		if err != nil {
			return
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
	}
}

func (f *fakeRocketMQ) answer(asked *remoting.Command) *remoting.Command {
	inJSON := func(v any) *remoting.Command {
		b, _ := json.Marshal(v) // maps and structs of strings
		return &remoting.Command{Body: b}
	}
	switch asked.Code {
	case remoting.CodeClusterInfo:
		brokers := map[string]any{}
		if f.broker != "" {
			id := "0"
			if f.noMaster {
				id = "1"
			}
			brokers["a"] = map[string]any{"brokerName": "a", "brokerAddrs": map[string]string{id: f.broker}}
		}
		return inJSON(map[string]any{"brokerAddrTable": brokers})
	case remoting.CodeBrokerRuntimeInfo:
		if f.runtime != nil {
			return inJSON(map[string]any{"table": f.runtime})
		}
	case remoting.CodeBrokerSettings:
		if f.settings != nil {
			var b strings.Builder
			for name, value := range f.settings {
				fmt.Fprintf(&b, "%s=%s\n", name, value)
			}
			return &remoting.Command{Body: []byte(b.String())}
		}
	case remoting.CodeAllTopicList:
		return inJSON(map[string]any{"topicList": []string{"Farm"}})
	case remoting.CodeTopicRoute:
		return inJSON(map[string]any{"queueDatas": f.queues})
	}
	return &remoting.Command{Code: 16} // no permission
}

func TestARocketMQThatIsWellHasNoFinding(t *testing.T) {
	p := newPatient(t)
	p.withRocketMQ(func(*fakeRocketMQ) {})
	var disks map[string]float64
	p.o.Disks = func(d map[string]float64) { disks = d }
	var said []string
	for _, f := range Run(t.Context(), p.o) {
		require.Equal(t, OK, f.Level, f.What)
		said = append(said, f.What)
	}
	require.Contains(t, said, "the fullest disk of a broker, that of a, is 50% full")
	require.Equal(t, map[string]float64{"a": 0.5}, disks)
}
