package remoting

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmqgate/lmqgate/internal/leftover"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(leftover.Patient(m)) }

// server answers requests with a function, one goroutine per request; nil means no answer.
type server struct {
	t       *testing.T
	l       net.Listener
	answer  func(*Command) *Command
	wg      sync.WaitGroup
	mu      sync.Mutex
	conns   []net.Conn
	accepts int
}

func newServer(t *testing.T, answer func(*Command) *Command) *server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{t: t, l: l, answer: answer}
	s.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, nc)
			s.accepts++
			s.mu.Unlock()
			s.wg.Add(1)
			go s.serve(nc)
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.drop(); s.wg.Wait() })
	return s
}

func (s *server) addr() string { return s.l.Addr().String() }

func (s *server) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.conns {
		_ = nc.Close()
	}
	s.conns = nil
}

func (s *server) serve(nc net.Conn) {
	defer s.wg.Done()
	var wmu sync.Mutex
	r := bufio.NewReader(nc)
	for {
		frame, err := readFrame(r, 1<<20)
		if err != nil {
			return
		}
		req, err := DecodeFrame(frame)
		if err != nil {
			return
		}
		s.wg.Go(func() {
			resp := s.answer(req)
			if resp == nil {
				return
			}
			resp.Opaque, resp.Flag = req.Opaque, flagResponse
			out, _ := resp.AppendFrame(nil)
			wmu.Lock()
			defer wmu.Unlock()
			_, _ = nc.Write(out)
		})
	}
}

func newClient(t *testing.T, cfg Config) *Client {
	c := New(cfg)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// kvServer emulates a namesrv's configuration table.
func kvServer(t *testing.T) *server {
	var mu sync.Mutex
	table := map[string]map[string]string{}
	return newServer(t, func(r *Command) *Command {
		mu.Lock()
		defer mu.Unlock()
		ns, key := r.Ext["namespace"], r.Ext["key"]
		switch r.Code {
		case CodePutKVConfig:
			if table[ns] == nil {
				table[ns] = map[string]string{}
			}
			table[ns][key] = r.Ext["value"]
			return &Command{}
		case CodeGetKVConfig:
			v, ok := table[ns][key]
			if !ok {
				return &Command{Code: QueryNotFound, Remark: "No config item"}
			}
			return &Command{Ext: map[string]string{"value": v}}
		case CodeDeleteKVConfig:
			delete(table[ns], key)
			return &Command{}
		case CodeListKVConfig:
			if table[ns] == nil {
				return &Command{Code: QueryNotFound}
			}
			body, _ := json.Marshal(map[string]any{"table": table[ns]})
			return &Command{Body: body}
		}
		return &Command{Code: 3, Remark: "not supported"}
	})
}

func TestAValuePutInTheConfigurationTableIsFoundListedAndDeleted(t *testing.T) {
	s, c, ctx := kvServer(t), newClient(t, Config{}), t.Context()
	_, found, err := c.GetKVConfig(ctx, s.addr(), "LMQ", "T")
	require.NoError(t, err)
	require.False(t, found)
	list, err := c.ListKVConfig(ctx, s.addr(), "LMQ")
	require.NoError(t, err)
	require.Empty(t, list)

	require.NoError(t, c.PutKVConfig(ctx, s.addr(), "LMQ", "T", "T/+,T/ü/#"))
	v, found, err := c.GetKVConfig(ctx, s.addr(), "LMQ", "T")
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "T/+,T/ü/#", v)
	list, err = c.ListKVConfig(ctx, s.addr(), "LMQ")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"T": "T/+,T/ü/#"}, list)

	require.NoError(t, c.DeleteKVConfig(ctx, s.addr(), "LMQ", "T"))
	_, found, err = c.GetKVConfig(ctx, s.addr(), "LMQ", "T")
	require.NoError(t, err)
	require.False(t, found)
}

func TestManyCallsShareOneConnection(t *testing.T) {
	s := newServer(t, func(r *Command) *Command { return &Command{Ext: map[string]string{"value": r.Ext["key"]}} })
	c := newClient(t, Config{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			key := string(rune('a' + i%26))
			v, _, err := c.GetKVConfig(t.Context(), s.addr(), "n", key)
			if err != nil || v != key {
				t.Errorf("got %q, %v; want %q", v, err, key)
			}
		})
	}
	wg.Wait()
	require.Equal(t, 1, s.accepts)
}

func TestACallReturnsAtOnceWhenItsContextEnds(t *testing.T) {
	s := newServer(t, func(*Command) *Command { return nil })
	c := newClient(t, Config{RequestTimeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	start := time.Now()
	_, err := c.Invoke(ctx, s.addr(), &Command{Code: 1})
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(start), 30*time.Second)
}

func TestABrokenConnectionFailsItsCallsAndIsOpenedAnew(t *testing.T) {
	var s *server
	s = newServer(t, func(r *Command) *Command {
		if r.Code == 1 {
			go s.drop()
			return nil
		}
		return &Command{}
	})
	c := newClient(t, Config{RequestTimeout: time.Minute})
	_, err := c.Invoke(t.Context(), s.addr(), &Command{Code: 1})
	require.ErrorIs(t, err, ErrConnection)
	_, err = c.Invoke(t.Context(), s.addr(), &Command{Code: 2})
	require.NoError(t, err)
	require.Equal(t, 2, s.accepts)
}

func TestAPeerThatNeverAnswersLosesItsConnection(t *testing.T) {
	s := newServer(t, func(r *Command) *Command {
		if r.Code == 1 {
			return nil
		}
		return &Command{}
	})
	c := newClient(t, Config{RequestTimeout: 3 * time.Second, DialTimeout: time.Minute}) // long enough for the answer to the second call
	_, err := c.Invoke(t.Context(), s.addr(), &Command{Code: 1})
	require.ErrorIs(t, err, ErrConnection)
	_, err = c.Invoke(t.Context(), s.addr(), &Command{Code: 2})
	require.NoError(t, err)
	require.Equal(t, 2, s.accepts)
}

// TestWhatAPeerHasNotTakenIsForgottenWithItsConnection has a peer that takes nothing until its caller has given up. What it finds then ends
// in a reset, so it is no request that anybody waits for.
func TestWhatAPeerHasNotTakenIsForgottenWithItsConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c := newClient(t, Config{RequestTimeout: 50 * time.Millisecond})
	_, err = c.Invoke(t.Context(), l.Addr().String(), &Command{Code: 1, Body: make([]byte, 32<<20)})
	require.ErrorIs(t, err, ErrConnection)
	nc, err := l.Accept()
	require.NoError(t, err)
	defer nc.Close()
	n, err := io.Copy(io.Discard, nc)
	require.ErrorIs(t, err, syscall.ECONNRESET)
	require.Less(t, n, int64(32<<20), "what the kernels held")
}

func TestACallThatIsLeftEndsADeadConnectionAndNoOther(t *testing.T) {
	// leave leaves a call after a moment, and returns its connection.
	leave := func(t *testing.T, limit time.Duration, answer func(*Command) *Command) (*Client, *server, *conn) {
		s := newServer(t, answer)
		c := newClient(t, Config{RequestTimeout: limit, DialTimeout: time.Minute})
		cn, err := c.connection(t.Context(), s.addr())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err = c.Invoke(ctx, s.addr(), &Command{Code: 1})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return c, s, cn
	}
	t.Run("dead", func(t *testing.T) {
		_, _, cn := leave(t, time.Second, func(*Command) *Command { return nil })
		select {
		case <-cn.done:
		case <-time.After(time.Minute):
			require.Fail(t, "it stays open")
		}
	})
	t.Run("alive", func(t *testing.T) {
		c, s, cn := leave(t, time.Minute, func(r *Command) *Command {
			if r.Code == 1 {
				return nil
			}
			return &Command{}
		})
		_, err := c.Invoke(t.Context(), s.addr(), &Command{Code: 2})
		require.NoError(t, err)
		cn.checkLeft(time.Now().Add(time.Hour))
		require.Nil(t, cn.left)
		select {
		case <-cn.done:
			require.Fail(t, "it was closed", cn.err)
		default:
		}
	})
}

func TestClosingTheClientFailsCallsInFlight(t *testing.T) {
	got := make(chan struct{})
	s := newServer(t, func(*Command) *Command { close(got); return nil })
	c := New(Config{RequestTimeout: time.Minute})
	errs := make(chan error, 1)
	go func() {
		_, err := c.Invoke(context.Background(), s.addr(), &Command{Code: 1})
		errs <- err
	}()
	<-got
	require.NoError(t, c.Close())
	require.ErrorIs(t, <-errs, ErrClosed)
	_, err := c.Invoke(context.Background(), s.addr(), &Command{Code: 1})
	require.ErrorIs(t, err, ErrClosed)
}

func TestAnAddressWhereNobodyListensIsAConnectionError(t *testing.T) {
	c := newClient(t, Config{})
	_, err := c.Invoke(t.Context(), "127.0.0.1:1", &Command{Code: 1})
	require.ErrorIs(t, err, ErrConnection)
}

func TestAFrameBeyondTheLimitEndsTheConnection(t *testing.T) {
	s := newServer(t, func(*Command) *Command { return &Command{Body: make([]byte, 5000)} })
	c := newClient(t, Config{MaxFrame: 4096})
	_, err := c.Invoke(t.Context(), s.addr(), &Command{Code: 1})
	require.ErrorIs(t, err, ErrConnection)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = c.Invoke(t.Context(), s.addr(), &Command{Code: 1, Body: make([]byte, 5000)})
	require.ErrorContains(t, err, "more than the limit")
}

func TestBytesOfAnotherProtocolEndTheConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err == nil {
			_, _ = nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = nc.Close()
		}
	}()
	c := newClient(t, Config{})
	_, err = c.Invoke(t.Context(), l.Addr().String(), &Command{Code: 1})
	require.ErrorIs(t, err, ErrConnection)
}

func TestAnErrorAnswerCarriesItsCodeAndRemark(t *testing.T) {
	s := newServer(t, func(*Command) *Command { return &Command{Code: SystemError, Remark: "disk full"} })
	c := newClient(t, Config{})
	err := c.PutKVConfig(t.Context(), s.addr(), "n", "k", "v")
	require.True(t, IsCode(err, SystemBusy, SystemError))
	require.False(t, IsCode(err, SystemBusy))
	require.ErrorContains(t, err, "disk full")
	var e *Error
	require.True(t, errors.As(err, &e))
	require.Equal(t, s.addr(), e.Addr)
}

func TestRequestsAreSignedOverTheSortedFieldsAndTheBody(t *testing.T) {
	c := &Command{Ext: map[string]string{"topic": "T", "b": "2"}, Body: []byte("body")}
	Credentials{AccessKey: "ak", SecretKey: "sk", SecurityToken: "tok"}.sign(c)
	// printf 'aktok2Tbody' | openssl dgst -sha1 -hmac sk -binary | base64
	require.Equal(t, "8rEuS/atZNx6ZeTCIeigjvX/g3Y=", c.Ext["Signature"])
	require.Equal(t, "ak", c.Ext["AccessKey"])
	require.Equal(t, "tok", c.Ext["SecurityToken"])
}

func TestABinaryHeaderIsRead(t *testing.T) {
	var h []byte
	h = binary.BigEndian.AppendUint16(h, 22)
	h = append(h, 0)
	h = binary.BigEndian.AppendUint16(h, 493)
	h = binary.BigEndian.AppendUint32(h, 7)
	h = binary.BigEndian.AppendUint32(h, 1)
	h = binary.BigEndian.AppendUint32(h, 2)
	h = append(h, "no"...)
	h = binary.BigEndian.AppendUint32(h, 2+1+4+2)
	h = binary.BigEndian.AppendUint16(h, 1)
	h = append(h, 'k')
	h = binary.BigEndian.AppendUint32(h, 2)
	h = append(h, "vv"...)
	frame := binary.BigEndian.AppendUint32(nil, 1<<24|uint32(len(h)))
	frame = append(append(frame, h...), "body"...)
	c, err := DecodeFrame(frame)
	require.NoError(t, err)
	require.Equal(t, &Command{Code: 22, Version: 493, Opaque: 7, Flag: 1, Remark: "no", Ext: map[string]string{"k": "vv"}, Body: []byte("body")}, c)
}

func TestIntegerKeysOfJavaMapsAreQuoted(t *testing.T) {
	for in, want := range map[string]string{
		`{0:"a:1",1:"b:2"}`:               `{"0":"a:1","1":"b:2"}`,
		`{"m":{ -1 : 2 , 3:[1,2,{4:5}]}}`: `{"m":{ "-1" : 2 , "3":[1,2,{"4":5}]}}`,
		`{"a":"{0:1,\"2:3"}`:              `{"a":"{0:1,\"2:3"}`,
		`{"a":1}`:                         `{"a":1}`,
		`{0:`:                             `{"0":`,
		`{"a`:                             `{"a`,
		``:                                ``,
	} {
		require.Equal(t, want, string(standardJSON([]byte(in))))
	}
}

func FuzzDecodeFrame(f *testing.F) {
	ok, _ := (&Command{Code: 11, Ext: map[string]string{"a": "b"}, Body: []byte("x")}).AppendFrame(nil)
	f.Add(ok[4:])
	f.Add([]byte{1, 0, 0, 21, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeFrame(b)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		_, err = c.AppendFrame(nil)
		require.NoError(t, err)
	})
}

func FuzzStandardJSON(f *testing.F) {
	f.Add([]byte(`{0:"a",1:[1,2]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if json.Valid(b) {
			require.Equal(t, string(b), string(standardJSON(b)))
		} else {
			standardJSON(b)
		}
	})
}
