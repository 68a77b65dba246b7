package remoting

import (
	"errors"
	"fmt"
	"slices"
)

// Errors of the connection, as opposed to answers of the peer ([Error]).
var (
	// ErrClosed means that the client is closed.
	ErrClosed = errors.New("remoting client closed")
	// ErrConnection means that the peer cannot be reached, or that the connection broke before the answer arrived. Whether the peer
	// executed the request is unknown.
	ErrConnection = errors.New("remoting connection failed")
	// ErrMalformed means that the peer sent bytes that violate the protocol.
	ErrMalformed = errors.New("malformed remoting data")
)

// Error is an answer of the peer that says the request failed.
type Error struct {
	// Addr is the peer, Request the request's code, Code the answer's.
	Addr    string
	Request int
	Code    int
	// Remark is the peer's explanation; it can be long and contain names of Java exceptions.
	Remark string
	// Connection is the number of the connection that brought the answer; see PullResult.
	Connection uint64
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s answered request %d with code %d: %s", e.Addr, e.Request, e.Code, clip(e.Remark, 200))
}

// IsCode reports whether err is, or wraps, an answer with one of the codes.
func IsCode(err error, codes ...int) bool {
	var e *Error
	return errors.As(err, &e) && slices.Contains(codes, e.Code)
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
