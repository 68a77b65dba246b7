// Package fault has tests that break things while clients are at work, and count the effects on the clients.
//
// A fleet is a set of gateways, each a process with its plugins, on their own RocketMQ and etcd. Senders publish numbered messages, each
// sender to a topic of its own, and resend whatever is not acknowledged. Rovers have persistent sessions, move among the gateways and leave
// their old connections open. Meanwhile a test kills, stops and continues processes, at moments that its seed determines. In the end every
// acknowledged message must have reached every rover. The tests count messages that are missing, duplicated, out of order or unexpected,
// and also lost sessions, acknowledgements that nobody waits for, and connections that stay open beside a newer one.
//
// A gateway can have a front of its own before RocketMQ, which resets its connections, or lets everything vanish or come late.
//
// A failed test prints its seed. `make fault CASE=Name SEED=n RUNS=n` runs it again; `make soak MINUTES=n` runs all tests with random
// seeds. Every test needs a RocketMQ, as in test/e2e.
package fault
