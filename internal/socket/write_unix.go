//go:build unix

package socket

import (
	"errors"
	"syscall"
)

const supported = true

// attempt writes until the kernel accepts no more. It always returns true, so that the runtime does not wait for room and call it again.
func (w *Writer) attempt(fd uintptr) bool {
	for len(w.b) > 0 {
		n, err := syscall.Write(int(fd), w.b)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return true
		case err != nil:
			w.err = err
			return true
		}
		w.b = w.b[n:]
	}
	return true
}
