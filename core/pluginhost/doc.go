// Package pluginhost finds, verifies, starts and supervises the gateway's plugins, which are separate processes.
//
// Host starts and stops plugins. Plugin is one plugin, independent of the process that serves it at the moment. The rest of the gateway
// calls the stable gRPC clients Plugin.Auth and Plugin.Meta. Each call goes to the live process, with a deadline, a bound on calls in
// progress and a circuit breaker for each kind of call (pool.go). During a restart calls wait for a moment.
//
// A start (launch.go) verifies the file, starts the process, and goes through handshake, Describe, Configure, Activate and Health. The
// first start returns a one-line error within a bounded time. Restarts after a crash or a hang are retried forever, with a jittered,
// growing back-off (supervise.go).
//
// A plugin without TLS declares that by leaving the certificate field of its handshake line empty. The line comes over a pipe that only the
// plugin's process holds, so nobody else can declare it. Such a plugin may listen on a unix socket in the private directory that it was
// given or, with a warning, on a loopback port.
//
// No plugin outlives the gateway. The gateway holds the write end of each plugin's standard input, and the end of the input tells the
// plugin to exit; on Linux the kernel also kills the plugin when its parent dies.
//
// The package never falls back to another plugin, never passes the gateway's environment to a plugin, and never logs a configuration.
package pluginhost
