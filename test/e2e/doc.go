// Package e2e tests lmqgate as a whole: the programs as they are shipped, real
// configuration files, real clients, and a real RocketMQ where one is asked for.
//
// TestMain builds lmqgate and its plugins once, into a directory of its own.
// A Gateway is one `lmqgate serve` with a data directory that outlives it, so a
// test can stop it, kill it and start it again. Scenarios that must hold
// everywhere run once for each profile: the local store with meta-local, and
// RocketMQ with meta-namesrv; the core ones also with each other auth plugin, and with meta-etcd on both stores. LMQGATE_ROCKETMQ names the version of RocketMQ;
// without it, the RocketMQ profile is skipped, which LMQGATE_REQUIRE_ROCKETMQ=1
// makes a failure. One RocketMQ serves the whole run, so tests name their
// first-level topics with Gateway.Topic, and run one after the other.
//
// LMQGATE_E2E_RACE=1 builds everything with the race detector.
//
// Programs of others that a test needs (mosquitto-clients, Python, Node.js) may be
// missing on a developer's machine; where CI=true, that is a failure.
package e2e
