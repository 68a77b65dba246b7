package remoting

import (
	"context"
	"fmt"
	"strconv"
)

// MaxOffset returns the offset after the last message of a queue on a broker; 0 for a light message queue that does not exist.
func (c *Client) MaxOffset(ctx context.Context, broker, topic string, queue int32) (int64, error) {
	return c.offset(ctx, broker, &Command{Code: CodeMaxOffset, Ext: queueFields(topic, queue)})
}

// MinOffset returns the first offset of a queue on a broker.
func (c *Client) MinOffset(ctx context.Context, broker, topic string, queue int32) (int64, error) {
	return c.offset(ctx, broker, &Command{Code: CodeMinOffset, Ext: queueFields(topic, queue)})
}

// QueryConsumerOffset returns the offset that a consumer group committed for a queue; found is false if there is none.
func (c *Client) QueryConsumerOffset(ctx context.Context, broker, group, topic string, queue int32) (offset int64, found bool, err error) {
	req := &Command{Code: CodeQueryConsumerOffset, Ext: queueFields(topic, queue)}
	req.Ext["consumerGroup"] = group
	// Without this field, a broker that still has the queue's first message in memory answers 0 if nothing was committed.
	req.Ext["setZeroIfNotFound"] = "false"
	resp, err := c.do(ctx, broker, req, QueryNotFound)
	if err != nil || resp.Code == QueryNotFound {
		return 0, false, err
	}
	offset, err = field(resp, broker, "offset")
	return offset, err == nil, err
}

// UpdateConsumerOffset commits an offset of a consumer group for a queue.
func (c *Client) UpdateConsumerOffset(ctx context.Context, broker, group, topic string, queue int32, offset int64) error {
	req := &Command{Code: CodeUpdateConsumerOffset, Ext: queueFields(topic, queue)}
	req.Ext["consumerGroup"] = group
	req.Ext["commitOffset"] = strconv.FormatInt(offset, 10)
	_, err := c.do(ctx, broker, req)
	return err
}

func queueFields(topic string, queue int32) map[string]string {
	return map[string]string{"topic": topic, "queueId": strconv.Itoa(int(queue))}
}

func (c *Client) offset(ctx context.Context, broker string, req *Command) (int64, error) {
	resp, err := c.do(ctx, broker, req)
	if err != nil {
		return 0, err
	}
	return field(resp, broker, "offset")
}

// field reads a number from an answer's fields.
func field(resp *Command, addr, name string) (int64, error) {
	n, err := strconv.ParseInt(resp.Ext[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: field %q of an answer of %s is %q", ErrMalformed, name, addr, clip(resp.Ext[name], 40))
	}
	return n, nil
}

// SearchOffset returns the first offset of a queue whose message was stored at or after a time (milliseconds since the epoch), as precisely
// as the broker can tell.
func (c *Client) SearchOffset(ctx context.Context, broker, topic string, queue int32, millis int64) (int64, error) {
	req := &Command{Code: CodeSearchOffset, Ext: queueFields(topic, queue)}
	req.Ext["timestamp"] = strconv.FormatInt(millis, 10)
	return c.offset(ctx, broker, req)
}
