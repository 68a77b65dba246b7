// Package trace shows operators live what happens to one client, to one topic, or from one address. While nobody watches, nothing is
// traced, and the cost is one atomic load per event. There are few watches, each holds a bounded number of pending events and ends by
// itself. Events contain no payloads and no passwords.
package trace
