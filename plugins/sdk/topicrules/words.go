package topicrules

import (
	"fmt"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Effect is the effect of a matching rule.
type Effect bool

// The effects.
const (
	Deny  Effect = false
	Allow Effect = true
)

// UnmarshalText reads "allow" or "deny".
func (e *Effect) UnmarshalText(text []byte) error {
	switch string(text) {
	case "allow":
		*e = Allow
	case "deny":
		*e = Deny
	default:
		return fmt.Errorf("must be allow or deny, not %q", text)
	}
	return nil
}

// String returns the effect as it is configured.
func (e Effect) String() string {
	if e == Allow {
		return "allow"
	}
	return "deny"
}

// Action is a set of kinds of action.
type Action uint8

// The kinds of action, and both together.
const (
	Publish Action = 1 << iota
	Subscribe
	All = Publish | Subscribe
)

// ActionOf translates the contract's kind; 0 for an unknown kind.
func ActionOf(k pluginv1.ActionKind) Action {
	switch k {
	case pluginv1.ActionKind_ACTION_KIND_PUBLISH:
		return Publish
	case pluginv1.ActionKind_ACTION_KIND_SUBSCRIBE:
		return Subscribe
	}
	return 0
}

// UnmarshalText reads "publish", "subscribe" or "all".
func (a *Action) UnmarshalText(text []byte) error {
	switch string(text) {
	case "publish":
		*a = Publish
	case "subscribe":
		*a = Subscribe
	case "all":
		*a = All
	default:
		return fmt.Errorf("must be publish, subscribe or all, not %q", text)
	}
	return nil
}

// String returns the set as it is configured.
func (a Action) String() string {
	switch a {
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	}
	return "all"
}
