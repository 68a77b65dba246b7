// Command rocketmq-send sends one message from a RocketMQ application to MQTT clients. It knows RocketMQ's client and the names
// of docs/messages.md, and nothing of the gateway's code:
//
//	go run ./examples/rocketmq-send NAMESRV MQTT-TOPIC MESSAGE [FILTER...]
//
// Online subscribers get the message in any case, sleeping ones if the filter that they subscribed with is named.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: rocketmq-send NAMESRV MQTT-TOPIC MESSAGE [FILTER...]")
	}
	if err := send(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]...); err != nil {
		log.Fatal(err)
	}
}

// send sends one message to an MQTT topic, and to the queues of filters.
func send(namesrv, topic, text string, filters ...string) error {
	p, err := rocketmq.NewProducer(producer.WithNameServer([]string{namesrv}), producer.WithGroupName("my_application"))
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	defer p.Shutdown() //nolint:errcheck // the program ends

	first, _, _ := strings.Cut(topic, "/") // the RocketMQ topic
	m := primitive.NewMessage(first, []byte(text))
	m.WithProperty("originMqttTopic", topic)
	m.WithProperty("qosLevel", "1")
	queues := []string{lmq(topic)}
	for _, f := range filters {
		if q := lmq(f); !slices.Contains(queues, q) { // never name a queue twice
			queues = append(queues, q)
		}
	}
	m.WithProperty("INNER_MULTI_DISPATCH", strings.Join(queues, ","))
	_, err = p.SendSync(context.Background(), m)
	return err
}

// lmq names the queue of an MQTT topic or filter of up to 250 bytes. A comma that stays in a name can stop the broker.
func lmq(name string) string {
	special := func(r rune) bool { return r == '%' || r == ',' || r < ' ' || r == 0x7f }
	suffix := ""
	if strings.ContainsFunc(name, special) {
		var b strings.Builder
		for _, r := range name {
			if r == '~' || special(r) {
				fmt.Fprintf(&b, "~%02X", r)
			} else {
				b.WriteRune(r)
			}
		}
		name, suffix = b.String(), "%e"
	}
	if strings.Contains(name, "/") && !strings.HasSuffix(name, "/") {
		name += "/"
	}
	return "%LMQ%" + strings.ReplaceAll(name, "/", "%") + suffix
}
