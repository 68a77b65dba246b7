// Package doctor diagnoses what keeps a gateway from serving well, before it starts or while it runs: files that others may read,
// certificates that expire, ports that are taken, a disk that is nearly full, limits of the machine, plugins that are refused, services
// that do not answer, and what RocketMQ's brokers lack. Each Finding says what is wrong, where, and the remedy.
//
// Run checks everything once, for lmqgate doctor. A Watch repeats the same checks beside a running gateway.
//
// It changes nothing: listeners and files that it creates for a trial are removed at once.
package doctor
