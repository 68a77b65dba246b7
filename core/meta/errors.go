package meta

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Errors that callers act on. They are wrapped with details of the failure.
var (
	// ErrUnavailable: the metadata cannot be reached now, or was never loaded; a retry may help.
	ErrUnavailable = errors.New("metadata unavailable")
	// ErrLimit: the backend is full. Nothing was written; `lmqgate meta migrate` to a larger backend (etcd) helps.
	ErrLimit = errors.New("metadata limit reached")
	// ErrConflict: another writer has changed the item since it was read.
	ErrConflict = errors.New("metadata was changed by another writer")
	// ErrSuperseded: a newer connection of the client, with a higher epoch, now has the session, or the session has ended. The write no
	// longer matters. It is an ErrConflict for which a retry cannot help.
	ErrSuperseded = fmt.Errorf("the session belongs to a newer connection: %w", ErrConflict)
	// ErrTooManyFilters: the first-level topic has reached topics.max_filters, its limit of filters with a queue.
	ErrTooManyFilters = errors.New("too many filters with a queue")
	// ErrClosed: the Meta is closed.
	ErrClosed = errors.New("metadata closed")
)

// backendError converts a plugin's gRPC error into an error of this package.
func backendError(what string, err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: %w: no answer in time", what, ErrUnavailable)
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	switch st.Code() {
	case codes.ResourceExhausted:
		return fmt.Errorf("%s: %w: %s", what, ErrLimit, st.Message())
	case codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange, codes.PermissionDenied, codes.Unauthenticated:
		return fmt.Errorf("%s: the meta plugin refused it: %w", what, err)
	case codes.Canceled:
		return fmt.Errorf("%s: %w", what, context.Canceled)
	default:
		return fmt.Errorf("%s: %w: %s (%s)", what, ErrUnavailable, st.Message(), st.Code())
	}
}

// transient reports whether repeating the same call may help.
func transient(err error) bool {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return true
	case rebased(err):
		return false
	}
	switch status.Code(err) {
	case codes.ResourceExhausted, codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange, codes.PermissionDenied,
		codes.Unauthenticated, codes.Canceled:
		return false
	default:
		return true
	}
}
