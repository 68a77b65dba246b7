package fault

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/internal/freeport"
	"github.com/lmqgate/lmqgate/test/rocketmq/cluster"
)

// outage is what a front does with what comes to it.
type outage int

const (
	// passes: there is no outage.
	passes outage = iota
	// refuses resets connections, new ones too.
	refuses
	// swallows lets nothing pass and tells nobody. What was on its way, and the connections, are lost.
	swallows
	// delays lets nothing pass and tells nobody. What was on its way arrives at the end, as a network sends again what was not confirmed,
	// unless the gateway has reset the connection: its kernel forgets it then.
	delays
)

// front stands between one gateway and RocketMQ: the name servers tell this gateway the front's addresses in place of the brokers'. All
// other gateways, and the metadata, are not affected by its outages.
type front struct {
	namesrv []string

	mu      sync.Mutex
	how     outage
	changed chan struct{} // closed at the next change
	all     map[*passage]bool
	serving sync.WaitGroup
}

// passage is a connection of the gateway, and the one to RocketMQ that belongs to it.
type passage struct {
	in, out net.Conn
	late    bool // the connection was made during the outage
	once    sync.Once
	over    chan struct{}
}

func newFront(t *testing.T, mq *cluster.Cluster) *front {
	t.Helper()
	f := &front{changed: make(chan struct{}), all: map[*passage]bool{}}
	var pairs []string
	listen := func(backend string) net.Listener {
		address, err := freeport.Address()
		require.NoError(t, err)
		require.Len(t, address, len(backend), "addresses are replaced in place")
		l, err := net.Listen("tcp", address)
		require.NoError(t, err)
		pairs = append(pairs, backend, address)
		return l
	}
	listeners := map[net.Listener]bool{}
	for _, backend := range mq.Brokers() {
		l := listen(backend)
		listeners[l] = true
		f.serving.Go(func() { f.accept(l, backend, strings.NewReplacer()) })
	}
	edit := strings.NewReplacer(pairs...) // in the answers of name servers; it keeps lengths
	for _, backend := range mq.Namesrv() {
		l := listen(backend)
		listeners[l] = true
		f.namesrv = append(f.namesrv, l.Addr().String())
		f.serving.Go(func() { f.accept(l, backend, edit) })
	}
	t.Cleanup(func() {
		for l := range listeners {
			_ = l.Close()
		}
		f.set(refuses)
		f.serving.Wait()
	})
	return f
}

// set begins an outage, or ends it.
func (f *front) set(how outage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := range f.all {
		if how == refuses || f.how == swallows || p.late {
			p.reset()
		}
	}
	f.how = how
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *front) accept(l net.Listener, backend string, edit *strings.Replacer) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		p := &passage{in: in, late: f.how != passes, over: make(chan struct{})}
		if p.late && f.how == refuses {
			p.reset()
			f.mu.Unlock()
			continue
		}
		if !p.late {
			if p.out, err = net.Dial("tcp", backend); err != nil {
				p.reset()
				f.mu.Unlock()
				continue
			}
		}
		f.all[p] = true
		f.mu.Unlock()
		f.serving.Go(func() { f.carry(p, p.in, p.out, nil) })
		if p.out != nil {
			f.serving.Go(func() { f.carry(p, p.out, p.in, edit) })
		}
	}
}

// heldMost bounds the frames that wait on one connection.
const heldMost = 1 << 14

// carry passes frames on in one direction.
func (f *front) carry(p *passage, from, to net.Conn, edit *strings.Replacer) {
	frames := make(chan []byte, heldMost)
	f.serving.Go(func() {
		defer close(frames)
		for r := bufio.NewReader(from); ; {
			frame, err := readFrame(r)
			if err != nil {
				if errors.Is(err, syscall.ECONNRESET) {
					f.end(p)
				}
				return
			}
			select {
			case frames <- frame:
			case <-p.over:
				return
			}
		}
	})
	for frame := range frames {
		if !f.open(p) {
			break
		}
		if edit != nil {
			frame = append(frame[:4:4], edit.Replace(string(frame[4:]))...)
		}
		if _, err := to.Write(frame); err != nil {
			break
		}
	}
	f.end(p)
}

// open waits until frames may pass; it returns false if the passage has ended.
func (f *front) open(p *passage) bool {
	for {
		f.mu.Lock()
		how, changed := f.how, f.changed
		f.mu.Unlock()
		select {
		case <-p.over:
			return false
		default:
		}
		if how == passes {
			return true
		}
		select {
		case <-p.over:
			return false
		case <-changed:
		}
	}
}

func (f *front) end(p *passage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.reset()
	delete(f.all, p)
}

// reset ends both connections, and what they have not sent is lost.
func (p *passage) reset() {
	p.once.Do(func() {
		close(p.over)
		for _, c := range []net.Conn{p.in, p.out} {
			if c, ok := c.(*net.TCPConn); ok {
				_ = c.SetLinger(0)
				_ = c.Close()
			}
		}
	})
}

// readFrame reads one frame of the remoting protocol, with its length.
func readFrame(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	frame := make([]byte, 4+binary.BigEndian.Uint32(head))
	_, err = io.ReadFull(r, frame)
	return frame, err
}
