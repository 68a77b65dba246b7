package transfer

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// permanent reports whether a retry cannot help.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.ResourceExhausted, codes.InvalidArgument, codes.Unimplemented, codes.OutOfRange, codes.PermissionDenied,
		codes.Unauthenticated, codes.Canceled:
		return true
	default:
		return false
	}
}
