// Package e2e tests lmqgate as a whole: the programs as they are shipped, real configuration files, real clients, and a real RocketMQ if
// one is requested.
//
// TestMain builds lmqgate and its plugins once. A Gateway is one `lmqgate serve`
// with a data directory that outlives it, so a test can stop it, kill it and start
// it again. Scenarios that must hold everywhere run once for each profile: the local
// store with meta-local, and RocketMQ with meta-namesrv. The core scenarios also run
// with each other auth plugin, and with meta-etcd on both stores.
//
// LMQGATE_ROCKETMQ names the version of RocketMQ. Without it the RocketMQ profile is skipped, or fails with LMQGATE_REQUIRE_ROCKETMQ=1.
// LMQGATE_VERSION_RUN=1 selects the tests that can depend on the version; see onEachVersion.
//
// Tests run concurrently. A RocketMQ belongs to one test at a time (see pool), but serves many tests, so tests name their first-level
// topics with Gateway.Topic.
//
// With LMQGATE_E2E_NODES=2 each gateway on RocketMQ is two nodes behind a load balancer, so that publishers and subscribers are on
// different ones; see twoNodes. Tests that start several gateways, or are about one process, say so by onOneNode.
//
// LMQGATE_E2E_RACE=1 builds everything with the race detector.
//
// Other programs that a test needs (mosquitto-clients, Python, Node.js) may be missing on a developer's machine; with CI=true that is a
// failure.
package e2e
