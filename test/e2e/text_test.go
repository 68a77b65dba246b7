package e2e

import (
	"fmt"
	"strconv"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// numbers returns the decimal numbers from first up to but excluding end.
func numbers(first, end int) []string {
	var out []string
	for i := first; i < end; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

// texts returns the payloads of messages.
func texts(messages []paho.Message) []string {
	var out []string
	for _, m := range messages {
		out = append(out, string(m.Payload()))
	}
	return out
}

// byTopic returns the payloads of messages by their topic, in order.
func byTopic(messages []paho.Message) map[string][]string {
	out := map[string][]string{}
	for _, m := range messages {
		out[m.Topic()] = append(out[m.Topic()], string(m.Payload()))
	}
	return out
}

// errCode is an unexpected SUBACK code.
type errCode byte

func (e errCode) Error() string { return fmt.Sprintf("SUBACK has code 0x%02x", byte(e)) }
