package socket

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
)

// Poller waits for many connections at once. A waiting connection costs neither a goroutine nor a buffer. A nil Poller waits for none.
type Poller struct {
	file *os.File // the epoll instance; Go's own poller waits for it, so that no thread blocks
	raw  syscall.RawConn
	done chan struct{}

	mu    sync.Mutex
	waits []*Wait // by slot
	free  []int32
	armed int
}

// Wait is one connection's place in a Poller. Its zero value is ready for use.
type Wait struct {
	w          Waiter
	slot       int32 // plus 1; 0: none
	generation int32 // of the current wait, so that stale events of an earlier wait are ignored
	added      bool  // the descriptor was added to epoll
	armed      bool
}

// Waiter is notified when its connection can be read.
type Waiter interface {
	// Readable is called once for each Arm, from a goroutine of its own.
	Readable()
}

// mostEvents bounds the events of one system call.
const mostEvents = 256

// NewPoller returns a Poller, or nil on systems without one.
func NewPoller() (*Poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &Poller{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{})}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		_ = p.file.Close()
		return nil, err
	}
	go p.run()
	return p, nil
}

// Arm arranges for waiter to be notified once when nc has something to read, including its end. It returns false if nc cannot be waited
// for, because it is not a socket or is closed. Code that closes nc must call Disarm.
func (p *Poller) Arm(w *Wait, nc net.Conn, waiter Waiter) bool {
	if p == nil {
		return false
	}
	c, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	event := p.place(w, waiter)
	operation := syscall.EPOLL_CTL_MOD
	if !w.added {
		operation = syscall.EPOLL_CTL_ADD
	}
	// The waiter may be notified before Arm returns; from then on w belongs to the waiter.
	w.added = true
	var failed error
	if err := raw.Control(func(fd uintptr) {
		if err := p.raw.Control(func(epoll uintptr) {
			failed = syscall.EpollCtl(int(epoll), operation, int(fd), &event)
			if errors.Is(failed, syscall.ENOENT) { // it was not added before
				failed = syscall.EpollCtl(int(epoll), syscall.EPOLL_CTL_ADD, int(fd), &event)
			}
		}); err != nil {
			failed = err
		}
	}); err != nil {
		failed = err
	}
	return failed == nil || !p.Disarm(w)
}

// place assigns a slot to a wait and returns its event.
func (p *Poller) place(w *Wait, waiter Waiter) syscall.EpollEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.slot == 0 {
		if n := len(p.free); n > 0 {
			w.slot = p.free[n-1]
			p.free = p.free[:n-1]
		} else {
			p.waits = append(p.waits, nil)
			w.slot = int32(len(p.waits))
		}
		p.waits[w.slot-1] = w
	}
	w.w, w.armed = waiter, true
	p.armed++
	w.generation++
	return syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: w.slot, Pad: w.generation}
}

// Disarm ends a wait. It returns false if there is none: the waiter was notified, or is being notified.
func (p *Poller) Disarm(w *Wait) bool {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.end(w)
}

// end ends a wait, if there is one. Called with mu held.
func (p *Poller) end(w *Wait) bool {
	if !w.armed {
		return false
	}
	w.armed = false
	p.armed--
	return true
}

// Waiting returns the number of waiting connections.
func (p *Poller) Waiting() int {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.armed
}

// Leave releases a connection's slot when the connection is over. It must not be armed any more.
func (p *Poller) Leave(w *Wait) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.slot == 0 {
		return
	}
	p.end(w)
	p.waits[w.slot-1] = nil
	p.free = append(p.free, w.slot)
	w.slot = 0
}

// Close stops the Poller. Nobody is notified afterwards.
func (p *Poller) Close() {
	if p == nil {
		return
	}
	_ = p.file.Close()
	<-p.done
}

// run notifies waiters until the Poller is closed.
func (p *Poller) run() {
	defer close(p.done)
	events := make([]syscall.EpollEvent, mostEvents)
	var n int
	look := func(epoll uintptr) bool {
		var err error
		n, err = syscall.EpollWait(int(epoll), events, 0)
		return n > 0 || err != nil && !errors.Is(err, syscall.EINTR)
	}
	for p.raw.Read(look) == nil {
		if n <= 0 {
			return // the instance is broken
		}
		for i := range events[:n] {
			if w := p.told(&events[i]); w != nil {
				go w.Readable()
			}
		}
	}
}

// told returns the waiter to notify of an event; nil: nobody.
func (p *Poller) told(e *syscall.EpollEvent) Waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.waits[e.Fd-1]
	if w == nil || w.generation != e.Pad || !p.end(w) {
		return nil
	}
	return w.w
}
