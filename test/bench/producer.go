package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	rocketmqclient "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"

	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

const bareTopic = "bench_bare"

func startCluster(ctx context.Context, version string) (*cluster.Cluster, error) {
	c, err := cluster.Start(ctx, cluster.Options{Version: version, Optimized: true})
	if err != nil {
		return nil, err
	}
	for _, broker := range c.BrokerNames() {
		if err := c.CreateTopic(ctx, broker, bareTopic, 4); err != nil {
			c.Stop()
			return nil, err
		}
	}
	if err := c.AwaitRoute(ctx, bareTopic, c.BrokerNames()...); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// gatewayProperties are the properties of the gateway's record for a PUBLISH (see docs/messages.md).
var gatewayProperties = map[string]string{
	"originMqttTopic": "bench0/100", "IS_EMPTY_MSG": "false", "qosLevel": "1", "retryTimes": "0", "extData": `{"qosLevel":"1"}`,
	"mqttClientId": "bench-pub-100", "mqttCreated": "1700000000000",
}

// produce sends with the bare producer, with flight messages in flight, each like the gateway's record for a PUBLISH here: the same payload
// and properties, in no light message queue. It returns the rate per second.
func produce(ctx context.Context, c *cluster.Cluster, flight int, length time.Duration) (float64, error) {
	rlog.SetLogLevel("error")
	p, err := rocketmqclient.NewProducer(producer.WithNsResolver(primitive.NewPassthroughResolver(c.Namesrv())),
		producer.WithGroupName("bench"), producer.WithRetry(0), producer.WithInstanceName(strconv.FormatInt(time.Now().UnixNano(), 10)))
	if err != nil {
		return 0, err
	}
	if err := p.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = p.Shutdown() }()
	var sent, failed atomic.Int64
	var wg sync.WaitGroup
	body := make([]byte, payloadSize)
	began := time.Now()
	end := began.Add(length)
	for range flight {
		wg.Go(func() {
			for time.Now().Before(end) {
				m := primitive.NewMessage(bareTopic, body)
				m.WithTag("MQTT_COMMON")
				m.WithProperties(gatewayProperties)
				if _, err := p.SendSync(ctx, m); err != nil {
					failed.Add(1)
					time.Sleep(10 * time.Millisecond)
					continue
				}
				sent.Add(1)
			}
		})
	}
	wg.Wait()
	if sent.Load() == 0 {
		return 0, fmt.Errorf("none of %d sends succeeded", failed.Load())
	}
	return float64(sent.Load()) / time.Since(began).Seconds(), nil
}
