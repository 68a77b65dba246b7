package remoting

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// SendRequest stores one message in one queue of a topic on a broker's master.
type SendRequest struct {
	// Group is the producer group.
	Group string
	Topic string
	Queue int32
	// Properties of the message; see PlainProperty.
	Properties []Property
	Body       []byte

	batch bool // the body holds several messages, in the form of appendBatch
}

func (s *SendRequest) code() int {
	if s.batch {
		return CodeSendBatchMessage
	}
	return CodeSendMessageV2
}

// Property is one property of a message.
type Property struct{ Name, Value string }

// SendResult says where the message is stored.
type SendResult struct {
	// Log is the message's place in the broker's commit log; -1 if the broker did not return it.
	Log         int64
	Queue       int32
	QueueOffset int64
	// Logs holds, for a batch, the places of all its messages; nil if the broker did not return them.
	Logs []int64
	// Unsynced is true if the broker is configured to wait for a slave and currently has none.
	Unsynced bool
}

// SendMessage is a synchronous Send: it waits for the answer, or until ctx ends.
func (c *Client) SendMessage(ctx context.Context, broker string, s SendRequest) (SendResult, error) {
	type outcome struct {
		result SendResult
		err    error
	}
	answer := make(chan outcome, 1)
	c.Send(broker, s, c.cfg.RequestTimeout, func(r SendResult, err error) { answer <- outcome{r, err} })
	select {
	case o := <-answer:
		return o.result, o.err
	case <-ctx.Done():
		return SendResult{}, ctx.Err()
	}
}

// Send stores a message and calls done exactly once, from any goroutine, when the broker has answered; done must not block. If there is no
// answer within timeout (checked four times a second), done gets an error wrapping ErrConnection. Send itself never blocks. The request's
// Body and Properties are not used after it has returned, unless the connection is not open yet. If the message is stored, but not yet
// flushed or replicated as the broker's configuration requires, the error has the code FlushDiskTimeout or FlushSlaveTimeout.
func (c *Client) Send(broker string, s SendRequest, timeout time.Duration, done func(SendResult, error)) {
	if cn := c.open(broker); cn != nil {
		cn.send(&s, timeout, done)
		return
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(SendResult{}, ErrClosed)
		return
	}
	c.wg.Add(1) // under the lock that Close takes before it waits
	c.mu.Unlock()
	go func() {
		defer c.wg.Done()
		ctx, cancel := context.WithTimeout(c.base, timeout)
		defer cancel()
		cn, err := c.connection(ctx, broker)
		switch {
		case err == nil:
			cn.send(&s, timeout, done)
		case c.base.Err() != nil:
			done(SendResult{}, ErrClosed)
		case ctx.Err() != nil:
			done(SendResult{}, connectionError(broker, ctx.Err()))
		default:
			done(SendResult{}, err)
		}
	}()
}

// pendingSend is a send that waits for its answer.
type pendingSend struct {
	done     func(SendResult, error)
	deadline time.Time
	reads    int64 // number of received frames when it was sent
}

// directSends is the number of sends in flight up to which a caller writes its own send.
const directSends = 4

var frames = sync.Pool{New: func() any { b := make([]byte, 0, 2<<10); return &b }}

func (cn *conn) send(s *SendRequest, timeout time.Duration, done func(SendResult, error)) {
	c := cn.client
	opaque := c.opaque.Add(1)
	buf := frames.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer func() {
		if cap(*buf) <= keepBuffer {
			frames.Put(buf)
		}
	}()
	var err error
	if *buf, err = c.appendSend((*buf)[:0], opaque, s); err == nil && len(*buf) > c.cfg.MaxFrame {
		err = fmt.Errorf("request %d has %d bytes, more than the limit of %d", s.code(), len(*buf), c.cfg.MaxFrame)
	}
	if err != nil {
		done(SendResult{}, err)
		return
	}
	cn.mu.Lock()
	if cn.failed {
		cn.mu.Unlock()
		done(SendResult{}, cn.err)
		return
	}
	cn.sends[opaque] = pendingSend{done: done, deadline: time.Now().Add(timeout), reads: cn.reads.Load()}
	few := len(cn.sends) <= directSends
	cn.mu.Unlock()
	cn.out.add(*buf, few)
}

// The fields of the short form of a send that never change: default topic and its number of queues, system flag, flag, times
// reconsumed, unit mode, batch.
var (
	sendConstants  = []Property{{"c", "TBW102"}, {"d", "4"}, {"f", "0"}, {"h", "0"}, {"j", "0"}, {"k", "false"}, {"m", "false"}}
	batchConstants = append(sendConstants[:6:6], Property{"m", "true"})
)

func (s *SendRequest) constants() []Property {
	if s.batch {
		return batchConstants
	}
	return sendConstants
}

// BatchPart is one message of a batch.
type BatchPart struct {
	Properties []Property
	Body       []byte
}

// SendBatch is Send for several messages, which the broker stores adjacently and in order, or not at all. Body and Properties of the
// request are ignored. The result has the QueueOffset of the first message and the Logs of all.
func (c *Client) SendBatch(broker string, s SendRequest, parts []BatchPart, timeout time.Duration, done func(SendResult, error)) {
	s.batch, s.Properties, s.Body = true, nil, appendBatch(nil, parts)
	c.Send(broker, s, timeout, done)
}

// appendBatch appends the body of a batch: for each message its size, a magic number and a checksum (both rewritten by brokers), flags,
// body and properties.
func appendBatch(dst []byte, parts []BatchPart) []byte {
	const fixed = 4 + 4 + 4 + 4 + 4 + 2
	size := 0
	for _, p := range parts {
		size += fixed + len(p.Body) + propertiesSize(p.Properties)
	}
	dst = slices.Grow(dst, size)
	for _, p := range parts {
		properties := propertiesSize(p.Properties)
		dst = binary.BigEndian.AppendUint32(dst, uint32(fixed+len(p.Body)+properties))
		dst = append(dst, make([]byte, 12)...)
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(p.Body)))
		dst = append(dst, p.Body...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(properties))
		for _, q := range p.Properties {
			dst = AppendProperty(dst, q.Name, q.Value)
		}
	}
	return dst
}

func propertiesSize(properties []Property) (n int) {
	for _, p := range properties {
		n += PropertySize(p.Name, p.Value)
	}
	return n
}

// appendSend appends the frame of a send. Brokers parse the form with one-letter names and a binary header fastest.
func (c *Client) appendSend(dst []byte, opaque int32, s *SendRequest) ([]byte, error) {
	if c.cfg.Credentials.AccessKey != "" {
		return c.appendSignedSend(dst, opaque, s)
	}
	var number [2][20]byte
	queue := strconv.AppendInt(number[0][:0], int64(s.Queue), 10)
	born := strconv.AppendInt(number[1][:0], time.Now().UnixMilli(), 10)
	properties := 0
	for _, p := range s.Properties {
		properties += PropertySize(p.Name, p.Value)
	}
	const each = 2 + 1 + 4 // lengths, and a name of one letter
	fields := 5*each + len(s.Group) + len(s.Topic) + len(queue) + len(born) + properties
	constants := s.constants()
	for _, f := range constants {
		fields += each + len(f.Value)
	}
	header := binaryFixed + fields
	dst = binary.BigEndian.AppendUint32(dst, uint32(4+header+len(s.Body)))
	dst = binary.BigEndian.AppendUint32(dst, serializeBinary<<24|uint32(header))
	dst = appendBinaryFixed(dst, s.code(), clientVersion, opaque, 0)
	dst = binary.BigEndian.AppendUint32(dst, 0) // no remark
	dst = binary.BigEndian.AppendUint32(dst, uint32(fields))
	for _, f := range constants {
		dst = appendField(dst, f.Name, f.Value)
	}
	dst = appendField(dst, "a", s.Group)
	dst = appendField(dst, "b", s.Topic)
	dst = appendField(dst, "e", queue)
	dst = appendField(dst, "g", born)
	dst = binary.BigEndian.AppendUint16(dst, 1)
	dst = append(dst, 'i')
	dst = binary.BigEndian.AppendUint32(dst, uint32(properties))
	for _, p := range s.Properties {
		dst = AppendProperty(dst, p.Name, p.Value)
	}
	return append(dst, s.Body...), nil
}

// appendSignedSend is appendSend with a signature over the sorted fields.
func (c *Client) appendSignedSend(dst []byte, opaque int32, s *SendRequest) ([]byte, error) {
	var properties []byte
	for _, p := range s.Properties {
		properties = AppendProperty(properties, p.Name, p.Value)
	}
	req := &Command{Code: s.code(), Version: clientVersion, Opaque: opaque, Binary: true, Body: s.Body, Ext: map[string]string{
		"a": s.Group, "b": s.Topic, "e": strconv.Itoa(int(s.Queue)), "g": strconv.FormatInt(time.Now().UnixMilli(), 10),
		"i": string(properties),
	}}
	for _, f := range s.constants() {
		req.Ext[f.Name] = f.Value
	}
	c.cfg.Credentials.sign(req)
	return req.AppendFrame(dst)
}

// sendAnswered handles a frame if it is the answer to a successful send, and reports whether it was.
func (cn *conn) sendAnswered(frame []byte) bool {
	cn.mu.Lock()
	none := len(cn.sends) == 0
	cn.mu.Unlock()
	if none {
		return false // a connection without sends
	}
	a, ok := parseAnswer(frame)
	if !ok {
		return false // the general path reports the error
	}
	s, ok := cn.takeSend(int32(a.opaque))
	if !ok {
		return false
	}
	r := SendResult{Queue: int32(a.queue), QueueOffset: a.offset}
	r.setLogs(string(a.id))
	s.done(r, nil)
	return true
}

func (cn *conn) takeSend(opaque int32) (pendingSend, bool) {
	cn.mu.Lock()
	defer cn.mu.Unlock()
	s, ok := cn.sends[opaque]
	if ok {
		delete(cn.sends, opaque)
	}
	return s, ok
}

// sendAnsweredBy handles any other answer to a send.
func (cn *conn) sendAnsweredBy(resp *Command) {
	s, ok := cn.takeSend(resp.Opaque)
	if !ok {
		return // nobody waits for it any more
	}
	r, err := cn.sendResult(resp)
	s.done(r, err)
}

func (cn *conn) sendResult(resp *Command) (SendResult, error) {
	if err := check(cn.addr, &Command{Code: CodeSendMessageV2}, resp, SlaveNotAvailable); err != nil {
		return SendResult{}, err
	}
	r := SendResult{Unsynced: resp.Code == SlaveNotAvailable}
	r.setLogs(resp.Ext["msgId"])
	queue, err := field(resp, cn.addr, "queueId")
	if err != nil {
		return SendResult{}, err
	}
	r.Queue = int32(queue)
	if r.QueueOffset, err = field(resp, cn.addr, "queueOffset"); err != nil {
		return SendResult{}, err
	}
	return r, nil
}

// setLogs parses the places from the message id in the answer; for a batch, a comma-separated list of ids.
func (r *SendResult) setLogs(ids string) {
	r.Log = -1
	if n, err := LogOffset(ids); err == nil {
		r.Log = n
		return
	}
	if !strings.Contains(ids, ",") {
		return
	}
	for id := range strings.SplitSeq(ids, ",") {
		n, err := LogOffset(id)
		if err != nil {
			r.Logs = nil
			return
		}
		r.Logs = append(r.Logs, n)
	}
	r.Log = r.Logs[0]
}

// giveUp fails the sends that were not answered in time.
func (cn *conn) giveUp(now time.Time) {
	var late []pendingSend
	cn.mu.Lock()
	for opaque, s := range cn.sends {
		if now.After(s.deadline) {
			delete(cn.sends, opaque)
			late = append(late, s)
		}
	}
	cn.mu.Unlock()
	for _, s := range late {
		s.done(SendResult{}, cn.unanswered(CodeSendMessageV2, s.reads))
	}
}

// LogOffset parses the commit log offset from a message id of a broker: address, port and offset in hexadecimal.
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
