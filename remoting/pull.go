package remoting

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Bits of a pull's sysFlag: long-poll at the broker if there is nothing; the request has its own subscription, so that the broker requires
// no heartbeat of the group.
const (
	pullSuspend      = 2
	pullSubscription = 4
)

// suspendSlack is how much longer than requested a broker may hold a pull: it checks every five seconds.
const suspendSlack = 10 * time.Second

// PullRequest asks for the messages of one queue on one broker.
type PullRequest struct {
	// Group is the consumer group; the pull commits nothing for it.
	Group string
	Topic string
	Queue int32
	// Offset is the first wanted offset, Max the number of messages; brokers send at most 32 messages and 256 KiB unless configured
	// otherwise.
	Offset int64
	Max    int
	// Suspend is how long the broker may hold the request if there is nothing at Offset; 0: it answers at once.
	Suspend time.Duration
}

// PullResult is a broker's answer.
type PullResult struct {
	// Code is Success when there are messages, PullNotFound, PullRetry (ask again at Next), or PullOffsetMoved (the offset
	// lies outside the queue).
	Code int
	// Next is the offset for the next pull; Min and Max are the first offset of the queue and the offset after its last message.
	Next, Min, Max int64
	Messages       []Message
	// Connection is the number of the connection that brought the answer. All answers with one number are of one process.
	Connection uint64
}

// PullMessage pulls messages. Canceling ctx makes it return at once, even while the broker holds the pull.
func (c *Client) PullMessage(ctx context.Context, broker string, p PullRequest) (*PullResult, error) {
	req := &Command{Code: CodePullMessage, Binary: true, Ext: queueFields(p.Topic, p.Queue)}
	flag := pullSubscription
	if p.Suspend > 0 {
		flag |= pullSuspend
	}
	req.Ext["consumerGroup"] = p.Group
	req.Ext["queueOffset"] = strconv.FormatInt(p.Offset, 10)
	req.Ext["maxMsgNums"] = strconv.Itoa(p.Max)
	req.Ext["sysFlag"] = strconv.Itoa(flag)
	req.Ext["commitOffset"] = "0"
	req.Ext["suspendTimeoutMillis"] = strconv.FormatInt(p.Suspend.Milliseconds(), 10)
	req.Ext["subscription"] = "*"
	req.Ext["subVersion"] = "0"
	req.Ext["expressionType"] = "TAG"

	timeout := c.cfg.RequestTimeout
	if p.Suspend > 0 {
		timeout += p.Suspend + suspendSlack
	}
	resp, err := c.invoke(ctx, broker, req, timeout)
	if err != nil {
		return nil, err
	}
	if err := check(broker, req, resp, PullNotFound, PullRetry, PullOffsetMoved); err != nil {
		return nil, err
	}
	r := &PullResult{Code: resp.Code, Connection: resp.conn}
	for name, to := range map[string]*int64{"nextBeginOffset": &r.Next, "minOffset": &r.Min, "maxOffset": &r.Max} {
		if *to, err = field(resp, broker, name); err != nil {
			return nil, err
		}
	}
	if r.Code == Success {
		if r.Messages, err = DecodeMessages(resp.Body); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// ViewMessage reads one message by its place in a broker's commit log. It needs no queue, so it also finds a message that was just stored
// and is not indexed yet.
func (c *Client) ViewMessage(ctx context.Context, broker, topic string, logOffset int64) (*Message, error) {
	resp, err := c.do(ctx, broker, &Command{Code: CodeViewMessage, Ext: map[string]string{
		"topic": topic, "offset": strconv.FormatInt(logOffset, 10),
	}})
	if err != nil {
		return nil, err
	}
	msgs, err := DecodeMessages(resp.Body)
	if err != nil {
		return nil, err
	}
	if len(msgs) != 1 {
		return nil, fmt.Errorf("%w: %d messages at one place of %s", ErrMalformed, len(msgs), broker)
	}
	return &msgs[0], nil
}
