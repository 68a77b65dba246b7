// Package cluster starts real RocketMQ name servers and brokers for tests: jars from Maven, processes on free loopback
// ports, stopped by process id.
//
// Tests call [ForTest], which also decides whether RocketMQ tests run at all; programs call [Start]. A [Cluster] can kill and
// restart its brokers and name servers with the same ports and storage, and run mqadmin. Processes of a cluster die with
// the process that started it, unless [Options].Detached is set, which is what `make rocketmq-up` does.
//
// It needs java (17 or later) and, the first time for a version, mvn and access to a Maven repository.
package cluster
