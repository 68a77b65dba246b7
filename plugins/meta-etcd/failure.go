package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Bounds of a value. By default (--max-request-bytes) etcd accepts requests of 1.5 MiB, including the key.
const (
	maxValueBytes = 3<<19 - 64<<10
	maxSendBytes  = 16 << 20
)

// failure maps an error of etcd to a gRPC code. ctx is the caller's: if it has ended, nothing is wrong with etcd.
func (e *etcd) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	code, text := e.diagnose(err)
	return status.Error(code, text)
}

// diagnose returns the code, what is wrong, and what to do.
func (e *etcd) diagnose(err error) (codes.Code, string) {
	if _, description, ok := strings.Cut(err.Error(), " desc = "); ok && strings.HasPrefix(err.Error(), "rpc error: ") {
		if _, typed := status.FromError(err); !typed { // the reason for the end of a watch arrives as text
			err = errors.New(description)
		}
	}
	etcdErr := rpctypes.Error(err) // typed, where it is one of etcd's
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(etcdErr, t) {
				return true
			}
		}
		return false
	}
	user := "without a user"
	if e.config.Username != "" {
		user = fmt.Sprintf("user %q", e.config.Username)
	}
	switch {
	case errors.Is(err, errNotActive):
		return codes.Unavailable, err.Error()
	case is(rpctypes.ErrNoSpace):
		return codes.ResourceExhausted, "etcd's space quota is used up (NOSPACE): compact, defragment, and then \"etcdctl alarm disarm\", or raise --quota-backend-bytes"
	case is(rpctypes.ErrRequestTooLarge):
		return codes.ResourceExhausted, "the request is larger than etcd takes (--max-request-bytes, 1.5 MiB by default)"
	case is(rpctypes.ErrTooManyOps):
		return codes.ResourceExhausted, "the batch has more operations than etcd takes in a transaction (--max-txn-ops, 128 by default); nothing was applied"
	case is(rpctypes.ErrAuthFailed):
		return codes.Unauthenticated, "etcd refuses the password of " + user + ": check username and password"
	case is(rpctypes.ErrUserEmpty, rpctypes.ErrInvalidAuthToken):
		return codes.Unauthenticated, "etcd wants a user and a password (" + user + "): check username and password"
	case is(rpctypes.ErrPermissionDenied):
		return codes.PermissionDenied, fmt.Sprintf("etcd denies access (%s): grant readwrite on the prefix %q", user, e.keys.prefix)
	case is(rpctypes.ErrTooManyRequests):
		return codes.Unavailable, "etcd is overloaded: too many requests"
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded:
		return codes.Unavailable, fmt.Sprintf("etcd did not answer within %s (%s)", e.config.RequestTimeout, e.endpoints())
	}
	if st, ok := status.FromError(err); ok && st.Code() == codes.ResourceExhausted { // the message size limit
		return codes.ResourceExhausted, "etcd: " + st.Message()
	}
	text := etcdErr.Error()
	if st, ok := status.FromError(etcdErr); ok {
		text = st.Message()
	}
	return codes.Unavailable, fmt.Sprintf("etcd (%s): %s", e.endpoints(), strings.TrimPrefix(text, "etcdserver: "))
}

func (e *etcd) endpoints() string { return strings.Join(e.config.Endpoints, ", ") }
