// Command rocketmq-receive prints what MQTT clients publish below a first-level topic, as a RocketMQ application receives it:
//
//	go run ./examples/rocketmq-receive NAMESRV FIRST-LEVEL-TOPIC
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: rocketmq-receive NAMESRV FIRST-LEVEL-TOPIC")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := receive(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

// receive prints topic and payload of each message until ctx ends.
func receive(ctx context.Context, namesrv, first string) error {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer([]string{namesrv}), consumer.WithGroupName("my_application"),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err != nil {
		return err
	}
	fromMQTT := consumer.MessageSelector{Type: consumer.TAG, Expression: "MQTT_COMMON"}
	err = c.Subscribe(first, fromMQTT, func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			payload := string(m.Body)
			if m.GetProperty("IS_EMPTY_MSG") == "true" {
				payload = "" // RocketMQ has no empty bodies
			}
			fmt.Println(m.GetProperty("originMqttTopic"), payload)
		}
		return consumer.ConsumeSuccess, nil
	})
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	return c.Shutdown()
}
