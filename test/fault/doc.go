// Package fault has tests that break things while clients are at work, and count what that costs them.
//
// A fleet is some gateways, each a process with its plugins, on a RocketMQ and an etcd of their own. Senders publish numbered messages,
// each to a topic of its own, and send again whatever is not acknowledged; rovers have persistent sessions, move among the gateways and
// leave their old connections open. Meanwhile a test kills, stops and continues processes, at moments that its seed decides. In the end
// everything that was acknowledged must have come to every rover; what is missing, comes twice, comes out of order or should not have come
// is counted, and so are sessions that got lost, acknowledgements that nobody waits for, and connections that stay open beside a newer one.
//
// A test that fails names its seed. `make fault CASE=Name SEED=n RUNS=n` runs it again, `make soak MINUTES=n` runs all of them with random
// seeds. Every test needs a RocketMQ, as those of test/e2e do.
package fault
