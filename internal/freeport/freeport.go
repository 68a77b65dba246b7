// Package freeport finds ports for servers that tests start, stop and restart.
//
// The ports lie below the range of ephemeral ports. A port in that range can be lost while its server is down: to any outgoing connection,
// even to a client's connection to that very port, which then connects to itself.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
)

// first is the lowest port that is tried; firstOutgoing is the start of the ephemeral range if the system does not tell.
const first, firstOutgoing = 12000, 32768

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

func free(port int, offsets ...int) bool {
	for _, offset := range append([]int{0}, offsets...) {
		l, err := net.Listen("tcp", at(port+offset))
		if err != nil {
			return false
		}
		if l.Close() != nil {
			return false
		}
	}
	return true
}

func at(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
