// Package pluginhost finds, checks, starts and supervises the gateway's plugins, which are processes of their own.
//
// Host starts plugins and stops them; Plugin is one of them, whatever process serves it at the moment. What the rest of
// the gateway calls are the stable gRPC clients Plugin.Auth and Plugin.Meta: each call goes to the process that lives now,
// with a deadline, a bound on calls under way and a circuit breaker for each kind of calls (pool.go), and waits a moment where a
// restart is under way.
//
// The way of a start (launch.go): verify the file, start the process, handshake, Describe, Configure, Activate, Health.
// The first start answers an error of one line at once or after a bounded time; later ones, after a crash or a hang, are repeated
// with jittered, growing pauses for ever (supervise.go).
//
// A plugin that does without transport security declares it by leaving the certificate field of its handshake line empty.
// The line comes over a pipe that only the plugin's process holds, so nobody else can declare it. Such a plugin may listen
// on a unix socket in the private directory that it was given, or, with a warning, on a loopback port.
//
// No plugin outlives the gateway: the gateway holds the write end of each plugin's standard input, whose end tells the
// plugin to go, and on Linux the kernel kills the plugin with its parent.
//
// The package never falls back on another plugin, never passes its own environment on, and never logs a configuration.
package pluginhost
