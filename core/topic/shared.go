package topic

import (
	"fmt"
	"strings"
)

const sharePrefix = "$share/"

// Shared returns the filter of a shared subscription: "$share/{group}/{filter}".
func Shared(group, filter string) string { return sharePrefix + group + "/" + filter }

// IsShared reports whether a filter has the form of a shared subscription. The filter may still be invalid.
func IsShared(filter string) bool {
	return strings.HasPrefix(filter, sharePrefix) || filter == sharePrefix[:len(sharePrefix)-1]
}

// ParseShared splits the filter of a shared subscription, "$share/{group}/{filter}" (MQTT 5.0, 4.8.2). For any other filter
// shared is false and inner is the filter itself. The inner filter is validated in both cases, so this is the one check that
// an MQTT 5 SUBSCRIBE needs. Errors wrap ErrInvalid or ErrTooLong.
func ParseShared(filter string) (group, inner string, shared bool, err error) {
	if !strings.HasPrefix(filter, sharePrefix) {
		return "", filter, false, ValidateFilter(filter)
	}
	if err := validateText("topic filter", filter); err != nil {
		return "", "", true, err
	}
	group, inner, more := cut(filter[len(sharePrefix):])
	switch {
	case group == "":
		return "", "", true, fmt.Errorf("%w: shared subscription %q has an empty group name", ErrInvalid, filter)
	case IsWildcard(group):
		return "", "", true, fmt.Errorf("%w: shared subscription %q has a wildcard in its group name", ErrInvalid, filter)
	case !more || inner == "":
		return "", "", true, fmt.Errorf("%w: shared subscription %q has no filter after its group name", ErrInvalid, filter)
	}
	if err := ValidateFilter(inner); err != nil {
		return "", "", true, err
	}
	return group, inner, true, nil
}
