package websocket

import (
	"errors"

	"github.com/lmqgate/lmqgate/core/limits"
)

const (
	// maxFramesBefore is how many WebSocket frames without data a client may send before it is admitted.
	maxFramesBefore = 64
	// framesPerSecond is how many WebSocket frames without data an admitted client may send per second on average, and twice as many at
	// once. Clients send a ping every few seconds.
	framesPerSecond limits.Rate = 250
)

// ErrFlooded ends a WebSocket whose client floods it. The client reads the text in the close frame.
var ErrFlooded = errors.New("too many WebSocket frames without data")

// frames bounds the frames without data of a WebSocket: control frames, and empty frames of messages. They carry nothing that the bound on
// CONNECT or a rate of the client could count. Frames with data are not counted, however small they are. Used by the reader only.
type frames struct {
	admitted bool
	// ends: data has arrived since the last empty frame, so that an empty frame may end the message. Some libraries end all theirs so.
	ends bool
	used int            // before the client is admitted
	rate *limits.Bucket // afterwards; nil: there were no frames without data
}

// data notes a frame with data.
func (f *frames) data() { f.ends = true }

// empty counts an empty frame of a message. It returns false if there are too many.
func (f *frames) empty() bool {
	if f.ends {
		f.ends = false
		return true
	}
	return f.control()
}

// control counts a control frame. It returns false if there are too many.
func (f *frames) control() bool {
	if !f.admitted {
		f.used++
		return f.used <= maxFramesBefore
	}
	if f.rate == nil {
		f.rate = limits.NewBucket(framesPerSecond)
	}
	return f.rate.Try(1) == 0
}

// admit applies the bound for admitted clients from now on.
func (f *frames) admit() { f.admitted = true }
