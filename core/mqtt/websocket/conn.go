package websocket

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/lmqgate/lmqgate/internal/buffers"
)

// Conn presents a WebSocket as a stream of bytes: the payloads of its binary frames. It has a buffer only while there is input that was
// not handed over, so that a connection can rest. One goroutine at a time may read, and one may write.
type Conn struct {
	net.Conn // the socket, or TLS

	in    *bufio.Reader // nil while there is no input to hold
	state ws.State
	left  int64 // bytes left of the payload of the data frame being read
	mask  [4]byte
	at    int   // position in the mask of the next payload byte
	ended error // the error that ended reading
	bound frames

	writing sync.Mutex // held while a frame is written
	mu      sync.Mutex // guards the fields below; taken last
	// answer is a control frame that waits for the frame being written. A newer control frame replaces it.
	answer  []byte
	closed  bool // a close frame was sent, or waits in answer: nothing may follow it
	ponging bool // a goroutine writes pongs, and takes answer when it gets there
}

// ErrClosed says that a close frame was sent, so that nothing more can be written.
var ErrClosed = errors.New("the WebSocket is closed for writing")

// closeWithin bounds how long a close frame may take to be written.
const closeWithin = 2 * time.Second

var (
	errTextFrame = errors.New("a WebSocket frame is not binary") // [MQTT-6.0.0-1]

	readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}
)

// New makes a Conn. pending is input that arrived with the handshake.
func New(nc net.Conn, pending []byte) *Conn {
	w := &Conn{Conn: nc, state: ws.StateServerSide}
	if len(pending) > 0 { // it fits into the buffer, and the first read fills the buffer with it
		w.in = takeReader(io.MultiReader(bytes.NewReader(pending), nc))
	}
	return w
}

func takeReader(src io.Reader) *bufio.Reader {
	in := readers.Get().(*bufio.Reader) //nolint:forcetypeassert // the pool holds nothing else
	in.Reset(src)
	return in
}

// Admit says that the client is admitted: it may send more frames without data from now on. Called by the reader.
func (w *Conn) Admit() { w.bound.admit() }

// NetConn returns the underlying connection.
func (w *Conn) NetConn() net.Conn { return w.Conn }

// TLSState returns the state of the underlying TLS connection; nil if there is none.
func (w *Conn) TLSState() *tls.ConnectionState {
	t, ok := w.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	state := t.ConnectionState()
	return &state
}

// Holds reports whether there is input that was not handed over. If there is none, it gives the buffer back.
func (w *Conn) Holds() bool {
	if w.in == nil {
		return false
	}
	if w.in.Buffered() > 0 {
		return true
	}
	w.in.Reset(nil)
	readers.Put(w.in)
	w.in = nil
	return false
}

// Read implements net.Conn. No input is lost when a deadline passes.
func (w *Conn) Read(b []byte) (int, error) {
	if w.ended != nil {
		return 0, w.ended
	}
	if w.in == nil {
		w.in = takeReader(w.Conn)
	}
	for w.left == 0 {
		if err := w.next(); err != nil {
			return 0, err
		}
	}
	n, err := w.in.Read(b[:min(int64(len(b)), w.left)])
	ws.Cipher(b[:n], w.mask, w.at)
	w.at = (w.at + n) % len(w.mask)
	w.left -= int64(n)
	return n, err
}

// next reads the header of a data frame, or a whole control frame.
func (w *Conn) next() error {
	head, err := w.in.Peek(ws.MinHeaderSize)
	if err != nil {
		return err
	}
	size := headerSize(head[1])
	if head, err = w.in.Peek(size); err != nil {
		return unexpectedEnd(err)
	}
	h, err := ws.ReadHeader(bytes.NewReader(head))
	if err == nil {
		err = ws.CheckHeader(h, w.state)
	}
	switch {
	case err != nil:
		return w.Fail(ws.StatusProtocolError, err)
	case h.OpCode.IsControl():
		return w.control(h, size)
	case h.OpCode == ws.OpText:
		return w.Fail(ws.StatusUnsupportedData, errTextFrame)
	}
	if h.Length > 0 {
		w.bound.data()
	} else if !w.bound.empty() {
		return w.Fail(ws.StatusPolicyViolation, ErrFlooded)
	}
	_, _ = w.in.Discard(size)
	w.state = w.state.Clear(ws.StateFragmented)
	if !h.Fin {
		w.state = w.state.Set(ws.StateFragmented)
	}
	w.left, w.mask, w.at = h.Length, h.Mask, 0
	return nil
}

// headerSize returns the header size of a client's frame, given the header's second byte (RFC 6455, 5.2).
func headerSize(second byte) int {
	size := ws.MinHeaderSize
	switch second & 0x7f {
	case 126:
		size += 2
	case 127:
		size += 8
	}
	if second&0x80 != 0 {
		size += 4
	}
	return size
}

// control handles a control frame. CheckHeader has bounded its length.
func (w *Conn) control(h ws.Header, size int) error {
	frame, err := w.in.Peek(size + int(h.Length))
	if err != nil {
		return unexpectedEnd(err)
	}
	if h.OpCode != ws.OpClose && !w.bound.control() {
		return w.Fail(ws.StatusPolicyViolation, ErrFlooded)
	}
	payload := bytes.Clone(frame[size:])
	_, _ = w.in.Discard(len(frame))
	ws.Cipher(payload, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		return w.send(ws.NewPongFrame(payload))
	case ws.OpClose:
		return w.closedByClient(payload)
	}
	return nil
}

// closedByClient answers a close frame with the client's own code (RFC 6455, 5.5.1).
func (w *Conn) closedByClient(payload []byte) error {
	if len(payload) > 0 {
		code, reason := ws.ParseCloseFrameData(payload)
		if err := ws.CheckCloseFrameData(code, reason); err != nil {
			return w.Fail(ws.StatusProtocolError, err)
		}
		payload = payload[:2]
	}
	w.ended = io.EOF
	_ = w.send(ws.NewCloseFrame(payload))
	return w.ended
}

// Fail ends the WebSocket, tells the client why, and returns err. Called by the reader.
func (w *Conn) Fail(code ws.StatusCode, err error) error {
	w.ended = err
	_ = w.send(ws.NewCloseFrame(ws.NewCloseFrameBody(code, err.Error())))
	return err
}

// Remains returns what is to be read and discarded while the connection closes: the frames that follow, or, if the client broke the
// protocol, whatever bytes it sends. Called by the reader.
func (w *Conn) Remains() io.Reader {
	if w.ended != nil && !errors.Is(w.ended, io.EOF) {
		return w.Conn
	}
	return w
}

// unexpectedEnd turns the end of the stream within a frame into io.ErrUnexpectedEOF.
func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Write implements net.Conn. It sends b in one frame.
func (w *Conn) Write(b []byte) (int, error) {
	err := w.writeFrame(b)
	if also := w.writeAnswers(); err == nil {
		err = also
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *Conn) writeFrame(b []byte) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	closed := w.closed
	w.mu.Unlock()
	if closed {
		return ErrClosed
	}
	buf := buffers.Get()
	defer buffers.Put(buf)
	head := bytes.NewBuffer((*buf)[:0])
	_ = ws.WriteHeader(head, ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(len(b))}) // to memory
	*buf = append(head.Bytes(), b...)
	_, err := w.Conn.Write(*buf)
	return err
}

// send writes a control frame, at once or after the frame being written.
func (w *Conn) send(f ws.Frame) error {
	b, err := ws.CompileFrame(f)
	if err != nil {
		return err
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = f.Header.OpCode == ws.OpClose
	closed, ponging := w.closed, w.ponging
	w.ponging = w.ponging || !closed
	w.answer = b
	w.mu.Unlock()
	switch {
	case closed:
		_ = w.Conn.SetWriteDeadline(time.Now().Add(closeWithin))
		return w.writeAnswers()
	case !ponging:
		go w.pong() // a client that does not read must not block the reader
	}
	return nil
}

// pong writes control frames as long as any waits. A connection has one such goroutine at most, however many pings its client sends and
// does not read the answers of. It ends with the connection at the latest.
func (w *Conn) pong() {
	for w.owes() {
		w.writing.Lock()
		err := w.writeAnswer()
		w.writing.Unlock()
		if err != nil {
			return // ponging stays set: nothing more can be written
		}
	}
}

// owes reports to pong whether a control frame waits. If none does, pong has ended.
func (w *Conn) owes() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ponging = w.answer != nil
	return w.ponging
}

// writeAnswers writes the waiting control frame unless a data frame is being written; the writer of that frame calls writeAnswers
// afterwards.
func (w *Conn) writeAnswers() error {
	for w.waits() && w.writing.TryLock() {
		err := w.writeAnswer()
		w.writing.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// writeAnswer writes the waiting control frame unless another goroutine has written it. Called with writing held.
func (w *Conn) writeAnswer() error {
	w.mu.Lock()
	b := w.answer
	w.answer = nil
	w.mu.Unlock()
	if b == nil {
		return nil
	}
	_, err := w.Conn.Write(b)
	return err
}

// waits reports whether a control frame waits to be written.
func (w *Conn) waits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.answer != nil
}

// CloseWrite begins the closing handshake (RFC 6455, 7.1.2): the client answers and closes.
func (w *Conn) CloseWrite() error {
	return w.send(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "")))
}
