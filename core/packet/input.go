package packet

import (
	"errors"
	"io"
	"os"
	"sync"
)

const (
	smallBuffer = 512   // buffer of a connection with little traffic
	chunkSize   = 16384 // a pooled buffer, including the link of the list
	maxNoReads  = 100   // reads of 0 bytes without an error before the source counts as broken
	growthLimit = 4     // a body's memory is allocated once a quarter of it has arrived
)

// chunk is a pooled buffer. It can be linked to others while a large body arrives.
type chunk struct {
	b    [chunkSize - 8]byte
	next *chunk
}

var (
	chunks = sync.Pool{New: func() any { return new(chunk) }}
	smalls = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
)

// input buffers the bytes of a connection. Between packets it holds only a small buffer, and none while the connection rests. When more
// data arrives than fits, it holds a larger one. All buffers are pooled.
type input struct {
	src   io.Reader
	err   error              // of the last read; data that arrived with it is served first
	small *[smallBuffer]byte // nil before anything is read, and while the connection rests
	big   *chunk             // nil while small is enough
	buf   []byte             // the memory of small or big
	r, w  int                // buf[r:w] has arrived and is not consumed yet
	full  bool               // the last read filled the buffer: more data is probably waiting
}

func newInput(src io.Reader) input { return input{src: src} }

func (in *input) buffered() int { return in.w - in.r }

func (in *input) peek(i int) byte { return in.buf[in.r+i] }

func (in *input) skip(n int) { in.r += n }

// settle returns the pooled buffer when all of it is consumed. A busy source leaves the start of a packet behind, and so keeps the buffer.
func (in *input) settle() {
	if in.r == in.w && in.big != nil {
		in.giveBack()
	}
}

func (in *input) giveBack() {
	chunks.Put(in.big)
	in.big, in.buf, in.r, in.w = nil, nil, 0, 0
	if in.small != nil {
		in.buf = in.small[:]
	}
}

func (in *input) release() {
	in.r, in.w = 0, 0
	if in.big != nil {
		in.giveBack()
	}
	if in.small != nil {
		smalls.Put(in.small)
		in.small, in.buf = nil, nil
	}
}

// poll reads what is available; the source's read deadline must have passed. It reports whether there was anything, including an error.
func (in *input) poll() bool {
	if in.r < in.w || in.err != nil {
		return true
	}
	in.makeRoom(1)
	n, err := in.src.Read(in.buf)
	in.w, in.full = n, n == len(in.buf)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		in.err = err
	}
	return n > 0 || in.err != nil
}

// fill waits until n bytes (at most a chunk) are in the buffer.
func (in *input) fill(n int) error {
	for in.w-in.r < n {
		in.makeRoom(n)
		if err := in.read(); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom prepares the buffer for n bytes from r on. It takes a pooled buffer if they do not fit, or if the source is busy: the last read
// filled the buffer and ended inside a packet.
func (in *input) makeRoom(n int) {
	if in.buf == nil {
		in.small = smalls.Get().(*[smallBuffer]byte) //nolint:forcetypeassert // the pool holds nothing else
		in.buf = in.small[:]
	}
	switch {
	case in.big == nil && (n > smallBuffer || in.full && in.r < in.w):
		in.big = chunks.Get().(*chunk)
		in.w = copy(in.big.b[:], in.buf[in.r:in.w])
		in.r, in.buf = 0, in.big.b[:]
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.r+n > len(in.buf) || in.w == len(in.buf):
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
}

// read reads once, appending to the buffer.
func (in *input) read() error {
	n, err := in.readInto(in.buf[in.w:])
	in.w += n
	in.full = in.w == len(in.buf)
	return err
}

// readInto reads at least one byte, or returns an error and none.
func (in *input) readInto(b []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	for range maxNoReads {
		n, err := in.src.Read(b)
		in.err = err
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	in.err = io.ErrNoProgress
	return 0, in.err
}

// readFull fills b.
func (in *input) readFull(b []byte) error {
	for len(b) > 0 {
		n, err := in.readInto(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// view returns the next n bytes. If they fit into a buffer, the next packet may overwrite them.
func (in *input) view(n int) ([]byte, error) {
	if n > len(chunk{}.b) {
		return in.large(n)
	}
	if err := in.fill(n); err != nil {
		return nil, err
	}
	b := in.buf[in.r : in.r+n]
	in.r += n
	return b, nil
}

// own returns the next n bytes in newly allocated memory of exactly that size.
func (in *input) own(n int) ([]byte, error) {
	if n > len(chunk{}.b) {
		return in.large(n)
	}
	b, err := in.view(n)
	if err != nil {
		return nil, err
	}
	return append(make([]byte, 0, n), b...), nil
}

// large reads n bytes that do not fit into one buffer. A length that a header announces costs nothing until the data arrives: the first
// quarter is collected in pooled chunks, and then the body is allocated once, in its exact size.
func (in *input) large(n int) ([]byte, error) {
	var first, last *chunk
	defer func() {
		for c := first; c != nil; {
			next := c.next
			c.next = nil
			chunks.Put(c)
			c = next
		}
	}()
	have := in.buffered()
	for have < n/growthLimit {
		c := chunks.Get().(*chunk)
		if last == nil {
			first = c
		} else {
			last.next = c
		}
		last = c
		want := min(len(c.b), n-have)
		if err := in.readFull(c.b[:want]); err != nil {
			return nil, err
		}
		have += want
	}
	body := make([]byte, n)
	at := copy(body, in.buf[in.r:in.w])
	in.r, in.w = 0, 0
	for c := first; c != nil; c = c.next {
		at += copy(body[at:have], c.b[:])
	}
	return body, in.readFull(body[have:])
}
