package rocketmq

import (
	"slices"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/tracing"
	"github.com/lmqgate/lmqgate/remoting"
)

// withContext adds a message's trace context to the properties of its records, for RocketMQ consumers that continue the trace. It leaves
// the context out if it is not valid, or if the message would no longer fit. room is what the properties leave for the dispatch set.
func withContext(props []property, room int, a *store.Append) ([]property, int) {
	c := tracing.ContextOf(a.Message.UserProperties())
	if c.Parent == "" || !c.Valid() || !remoting.PlainProperty(c.Parent) {
		return props, room
	}
	cost := remoting.PropertySize(propParent, c.Parent)
	state := c.ValidState() && remoting.PlainProperty(c.State)
	if state {
		cost += remoting.PropertySize(propState, c.State)
	}
	longest := 0
	for _, q := range a.Queues {
		longest = max(longest, queueCost(q))
	}
	if room-cost < longest {
		return props, room
	}
	props = append(props, property{Name: propParent, Value: c.Parent})
	if state {
		props = append(props, property{Name: propState, Value: c.State})
	}
	return props, room - cost
}

// mergeContext puts the trace context of a record's properties among the user properties of its message, unless it is there already. A
// context that differs from the one that is there was written by a RocketMQ producer that has passed the message on.
func mergeContext(user []store.UserProperty, parent, state string) []store.UserProperty {
	if parent == "" || !validText(parent) {
		return user
	}
	was := tracing.ContextOf(user)
	here := tracing.Context{Parent: parent}
	switch {
	case was.Parent == parent:
		return user
	case was.Present() && !here.Valid():
		return user
	}
	user = slices.DeleteFunc(user, func(u store.UserProperty) bool { return u.Key == propParent || u.Key == propState })
	user = append(user, store.UserProperty{Key: propParent, Value: parent})
	if state != "" && validText(state) {
		user = append(user, store.UserProperty{Key: propState, Value: state})
	}
	return user
}
