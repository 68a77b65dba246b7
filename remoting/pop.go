package remoting

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxPop is how many messages a broker returns at most for one pop.
const MaxPop = 32

// popMin makes a consumer group without progress start at the queue's first message.
const popMin = "0"

// propPopped is the property with the receipt of a message that the broker took from a group's retry topic.
const propPopped = "POP_CK"

// PopRequest asks for messages that no other consumer of the group has (RIP-19, pop consumption).
type PopRequest struct {
	Group string
	Topic string
	// Max is how many messages are wanted; brokers return at most MaxPop messages and 256 KiB.
	Max int
	// Hidden is the visibility timeout: how long no other consumer gets the messages, unless they are acknowledged before.
	Hidden time.Duration
}

// Popped is one popped message.
type Popped struct {
	Message
	Receipt Receipt
}

// PopResult is a broker's answer. If there are no messages, Rest over 0 means that another consumer's request held the queue at that
// moment.
type PopResult struct {
	Messages []Popped
	Rest     int64
}

// Receipt identifies a popped message until it is acknowledged or its visibility timeout ends. Brokers call it a message's extra info.
type Receipt struct {
	// Start is the first offset of the message's check point, Offset the offset of the message.
	Start, Offset int64
	// PopTime is when the message was popped, and Hidden its visibility timeout, in milliseconds.
	PopTime, Hidden int64
	ReviveQueue     int
	// Retry says where the message is: "0" in the topic itself, "1" and "2" in a group's retry topic, in either form of its name.
	Retry  string
	Broker string
	Queue  int32
}

// Again reports whether the message was popped before.
func (r Receipt) Again() bool { return r.Retry != "0" }

// String returns the form that brokers parse.
func (r Receipt) String() string {
	return fmt.Sprintf("%d %d %d %d %s %s %d %d", r.Start, r.PopTime, r.Hidden, r.ReviveQueue, r.Retry, r.Broker, r.Queue, r.Offset)
}

// ParseReceipt parses the result of String.
func ParseReceipt(s string) (Receipt, error) {
	f := strings.Split(s, " ")
	if len(f) != 8 {
		return Receipt{}, fmt.Errorf("%w: receipt %q", ErrMalformed, clip(s, 80))
	}
	r := Receipt{Retry: f[4], Broker: f[5]}
	queue, revive := int64(0), int64(0)
	for i, to := range map[int]*int64{0: &r.Start, 1: &r.PopTime, 2: &r.Hidden, 3: &revive, 6: &queue, 7: &r.Offset} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return Receipt{}, fmt.Errorf("%w: receipt %q", ErrMalformed, clip(s, 80))
		}
		*to = n
	}
	r.ReviveQueue, r.Queue = int(revive), int32(queue)
	return r, nil
}

// RetryTopic returns the topic in which a broker keeps messages of topic for redelivery to the group.
func (r Receipt) RetryTopic(topic, group string) string { return PopRetryTopic(topic, group, r.Retry) }

// PopRetryTopic returns the retry topic of a group in one of its forms; form "0" is the topic itself.
func PopRetryTopic(topic, group, form string) string {
	switch form {
	case "1":
		return "%RETRY%" + group + "_" + topic
	case "2":
		return "%RETRY%" + group + "+" + topic
	}
	return topic
}

// PopMessage pops messages without waiting for any. offset returns the offset that a message states for the queue, if it does: the stored
// field is the offset in the topic's own queue, which differs for a light message queue. It is asked only if the broker's answer leaves
// open which of its offsets are whose.
func (c *Client) PopMessage(ctx context.Context, broker, brokerName string, p PopRequest, offset func(*Message) (int64,
	bool)) (*PopResult, error) {
	req := &Command{Code: CodePopMessage, Ext: queueFields(p.Topic, -1)}
	req.Ext["consumerGroup"] = p.Group
	req.Ext["maxMsgNums"] = strconv.Itoa(min(max(p.Max, 1), MaxPop))
	req.Ext["invisibleTime"] = strconv.FormatInt(p.Hidden.Milliseconds(), 10)
	req.Ext["pollTime"] = "0"
	// 0 makes the broker use its own time: with the client's time it refuses if the clocks differ.
	req.Ext["bornTime"] = "0"
	req.Ext["initMode"] = popMin
	req.Ext["expType"] = "TAG"
	req.Ext["exp"] = "*"
	req.Ext["order"] = "false"
	resp, err := c.do(ctx, broker, req, PollingFull, PollingTimeout, PullNotFound)
	if err != nil {
		return nil, err
	}
	r := &PopResult{}
	if resp.Code != Success {
		r.Rest, _ = strconv.ParseInt(resp.Ext["restNum"], 10, 64)
		return r, nil
	}
	var popTime, hidden, revive int64
	for name, to := range map[string]*int64{"popTime": &popTime, "invisibleTime": &hidden, "reviveQid": &revive} {
		if *to, err = field(resp, broker, name); err != nil {
			return nil, err
		}
	}
	msgs, err := DecodeMessages(resp.Body)
	if err != nil {
		return nil, err
	}
	start, offsets, err := popOffsets(resp)
	if err != nil {
		return nil, fmt.Errorf("%w of %s", err, broker)
	}
	r.Messages = make([]Popped, 0, len(msgs))
	var own []int // the messages that are not from a retry topic
	for i := range msgs {
		m := Popped{Message: msgs[i], Receipt: Receipt{Start: start, PopTime: popTime, Hidden: hidden, ReviveQueue: int(revive), Retry: "0",
			Broker: brokerName}}
		// Producers can set any property: accept the value only if the broker can have set it with this answer.
		if again, err := ParseReceipt(m.Property(propPopped)); err == nil && again.Again() && again.PopTime == popTime {
			m.Receipt = again
			r.Messages = append(r.Messages, m)
			continue
		}
		own = append(own, len(r.Messages))
		r.Messages = append(r.Messages, m)
	}
	if len(offsets) < len(own) {
		return nil, fmt.Errorf("%w: %s handed out a message without its place", ErrMalformed, broker)
	}
	// The messages are in the order of the offsets. If there are more offsets, only the messages themselves can tell which are theirs.
	for n, i := range own {
		m := &r.Messages[i]
		m.Receipt.Offset = offsets[n]
		if len(offsets) > len(own) {
			if at, ok := offset(&m.Message); ok {
				m.Receipt.Offset = at
			}
		}
	}
	return r, nil
}

// popOffsets parses the start and the offsets of those messages of an answer that are not from a retry topic.
func popOffsets(resp *Command) (start int64, offsets []int64, err error) {
	bad := func(name string) error {
		return fmt.Errorf("%w: field %q is %q in an answer", ErrMalformed, name, clip(resp.Ext[name], 80))
	}
	for part := range strings.SplitSeq(resp.Ext["startOffsetInfo"], ";") {
		f := strings.Split(part, " ")
		if len(f) == 3 && f[0] == "0" {
			if start, err = strconv.ParseInt(f[2], 10, 64); err != nil {
				return 0, nil, bad("startOffsetInfo")
			}
		}
	}
	for part := range strings.SplitSeq(resp.Ext["msgOffsetInfo"], ";") {
		f := strings.Split(part, " ")
		if len(f) != 3 || f[0] != "0" {
			continue
		}
		for text := range strings.SplitSeq(f[2], ",") {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return 0, nil, bad("msgOffsetInfo")
			}
			offsets = append(offsets, n)
		}
	}
	return start, offsets, nil
}

// batchAck is the broker's form of the acknowledgement of several messages of one pop.
type batchAck struct {
	Group       string `json:"c"`
	Topic       string `json:"t"`
	Retry       string `json:"r"`
	Start       int64  `json:"so"`
	Queue       int32  `json:"q"`
	ReviveQueue int    `json:"rq"`
	PopTime     int64  `json:"pt"`
	Hidden      int64  `json:"it"`
	// Bits is a bit set of the offsets minus Start, lowest bit first in each byte.
	Bits string `json:"b"`
}

// AckPopped acknowledges messages that the group popped from one broker. Messages of one pop are best acknowledged together. The broker
// ignores an expired receipt.
func (c *Client) AckPopped(ctx context.Context, broker, brokerName, group, topic string, receipts []Receipt) error {
	type together struct {
		start, popTime, hidden int64
		revive                 int
		retry                  string
		queue                  int32
	}
	bits := make(map[together][]byte)
	var order []together
	for _, r := range receipts {
		k := together{r.Start, r.PopTime, r.Hidden, r.ReviveQueue, r.Retry, r.Queue}
		i := r.Offset - r.Start
		if i < 0 || i > 1<<16 {
			return fmt.Errorf("%w: receipt %q", ErrMalformed, r)
		}
		b, had := bits[k]
		if !had {
			order = append(order, k)
		}
		for int64(len(b)) <= i/8 {
			b = append(b, 0)
		}
		b[i/8] |= 1 << (i % 8)
		bits[k] = b
	}
	body := struct {
		Broker string     `json:"brokerName"`
		Acks   []batchAck `json:"acks"`
	}{Broker: brokerName}
	for _, k := range order {
		body.Acks = append(body.Acks, batchAck{group, topic, k.retry, k.start, k.queue, k.revive, k.popTime, k.hidden,
			base64.StdEncoding.EncodeToString(bits[k])})
	}
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, broker, &Command{Code: CodeBatchAckMessage, Body: b})
	return err
}

// HidePopped resets the visibility timeout of a popped message, starting now. The returned receipt replaces r.
func (c *Client) HidePopped(ctx context.Context, broker, group, topic string, r Receipt, hidden time.Duration) (Receipt, error) {
	req := &Command{Code: CodeChangeInvisible, Ext: queueFields(r.RetryTopic(topic, group), r.Queue)}
	req.Ext["consumerGroup"] = group
	req.Ext["extraInfo"] = r.String()
	req.Ext["offset"] = strconv.FormatInt(r.Offset, 10)
	req.Ext["invisibleTime"] = strconv.FormatInt(hidden.Milliseconds(), 10)
	resp, err := c.do(ctx, broker, req)
	if err != nil {
		return Receipt{}, err
	}
	var revive int64
	for name, to := range map[string]*int64{"popTime": &r.PopTime, "invisibleTime": &r.Hidden, "reviveQid": &revive} {
		if *to, err = field(resp, broker, name); err != nil {
			return Receipt{}, err
		}
	}
	// The message has a check point of its own now.
	r.Start, r.ReviveQueue = r.Offset, int(revive)
	return r, nil
}
