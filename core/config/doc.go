// Package config holds the gateway's configuration: its schema, its defaults, the sources of values and their validation.
//
// A value comes from, in rising precedence: [Default], the YAML file, the environment (LMQGATE_STORE__ROCKETMQ__ACCESS_KEY, "__" between
// levels, lists as JSON), and --set key=value pairs (values as YAML). Maps are merged over these layers; lists replace. [Load] does all of
// that, resolves relative paths against the configuration file and validates; its result is ready to use.
//
// The blocks auth.config and meta.config belong to plugins: this package passes them on unread, apart from the defaults of the default
// plugins. It opens no connection, starts nothing and never prints a secret: [Secret] and [PluginConfig] hide themselves from logs and
// formatting.
//
// Every problem is reported, not only the first: see [Error].
package config
