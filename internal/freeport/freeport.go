// Package freeport finds ports for servers that tests start, stop and restart.
//
// The ports lie below the range of ephemeral ports. A port in that range can be lost while its server is down: to any outgoing connection,
// even to a client's connection to that very port, which then connects to itself.
//
// A port is given to one process at a time, and to it only once, so tests that run side by side do not get in each other's way. On Linux a
// process keeps a port until it ends; elsewhere only its own calls are kept apart.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
)

// first is the lowest port that is tried; firstOutgoing is the start of the ephemeral range if the system does not tell.
const first, firstOutgoing = 12000, 32768

// taken holds the ports of this process.
var (
	mu    sync.Mutex
	taken = make(map[int]net.Listener)
)

// Find returns a port of the loopback interface that is currently free, together with its neighbours at the offsets.
func Find(offsets ...int) (int, error) {
	end := below()
	for range 1000 {
		port := first + rand.N(end-first)
		if free(port, offsets...) {
			return port, nil
		}
	}
	return 0, errors.New("find a free port: none in a thousand tries")
}

// Address returns the result of Find as HOST:PORT.
func Address() (string, error) {
	port, err := Find()
	return at(port), err
}

// below returns the end of the range that is tried.
func below() int {
	var low, high int
	if text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		if n, _ := fmt.Sscan(string(text), &low, &high); n == 2 && low > first+1000 {
			return low
		}
	}
	return firstOutgoing
}

// free takes the ports for this process if nobody listens on them and nobody else took them.
func free(port int, offsets ...int) bool {
	for _, offset := range append([]int{0}, offsets...) {
		if !take(port + offset) {
			return false
		}
		l, err := net.Listen("tcp", at(port+offset))
		if err != nil || l.Close() != nil {
			return false
		}
	}
	return true
}

// take reserves a port. The reservation is an abstract socket, which the system removes when the process ends, and of which there can be
// only one.
func take(port int) bool {
	mu.Lock()
	defer mu.Unlock()
	if _, ours := taken[port]; ours {
		return false
	}
	var l net.Listener
	if runtime.GOOS == "linux" {
		var err error
		if l, err = net.Listen("unix", fmt.Sprintf("@lmqgate-test-port-%d", port)); err != nil {
			return false
		}
	}
	taken[port] = l
	return true
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
