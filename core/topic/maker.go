package topic

// Maker is who makes a first-level topic by using it. The zero Maker makes none.
type Maker struct {
	// Client is the client that publishes or subscribes, and Identity the mark of its identity; see meta.Owner.Mark. Identity is empty for
	// anonymous clients.
	Client, Identity string
	// Operator: an operator makes it, or the gateway itself. The bounds for clients do not apply.
	Operator bool
}

// Known reports whether anybody makes the topic.
func (m Maker) Known() bool { return m.Client != "" || m.Operator }
