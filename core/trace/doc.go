// Package trace shows operators what happens to one client, to one topic, or from one address, while they watch. Nothing is traced
// unless somebody watches: then it costs what is traced one atomic load. Watches are few, each holds a bounded number of events that
// were not taken yet, and ends by itself. Events have no payloads and no passwords.
package trace
