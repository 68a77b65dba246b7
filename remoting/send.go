package remoting

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// SendRequest stores one message in one queue of a topic on a broker's master.
type SendRequest struct {
	// Group is the producer group.
	Group string
	Topic string
	Queue int32
	// Properties are encoded; see AppendProperty.
	Properties string
	Body       []byte
}

// SendResult says where the message is. Its ID holds the broker's address and the commit log offset.
type SendResult struct {
	ID          string
	Queue       int32
	QueueOffset int64
	// Unsynced: the broker is to wait for a slave, and has none now.
	Unsynced bool
}

// SendMessage stores a message and returns when the broker has answered. Answers that say the message is stored but not yet
// flushed or replicated as the broker is configured to are errors with the codes FlushDiskTimeout and FlushSlaveTimeout.
func (c *Client) SendMessage(ctx context.Context, broker string, s SendRequest) (*SendResult, error) {
	// The form with one-letter names and a binary header is the one that brokers read fastest.
	req := &Command{Code: CodeSendMessageV2, Binary: true, Body: s.Body, Ext: map[string]string{
		"a": s.Group,
		"b": s.Topic,
		"c": "TBW102", // default topic, and its number of queues
		"d": "4",
		"e": strconv.Itoa(int(s.Queue)),
		"f": "0", // system flag
		"g": strconv.FormatInt(time.Now().UnixMilli(), 10),
		"h": "0", // flag
		"i": s.Properties,
		"j": "0",     // times reconsumed
		"k": "false", // unit mode
		"m": "false", // batch
	}}
	resp, err := c.do(ctx, broker, req, SlaveNotAvailable)
	if err != nil {
		return nil, err
	}
	r := &SendResult{ID: resp.Ext["msgId"], Unsynced: resp.Code == SlaveNotAvailable}
	queue, err := field(resp, broker, "queueId")
	if err != nil {
		return nil, err
	}
	r.Queue = int32(queue)
	if r.QueueOffset, err = field(resp, broker, "queueOffset"); err != nil {
		return nil, err
	}
	return r, nil
}

// LogOffset reads the commit log offset from a message id that a broker made: address, port and offset in hexadecimal.
func LogOffset(id string) (int64, error) {
	if len(id) != 32 && len(id) != 56 {
		return 0, fmt.Errorf("%w: message id %q", ErrMalformed, clip(id, 60))
	}
	n, err := strconv.ParseUint(id[len(id)-16:], 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: message id %q", ErrMalformed, id)
	}
	return int64(n), nil
}
