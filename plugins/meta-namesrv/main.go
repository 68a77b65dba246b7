// Command meta-namesrv is the lmqgate meta plugin that keeps the metadata in RocketMQ's namesrvs (kvconfig), where Apache
// RocketMQ MQTT keeps its own.
//
// Parts: namesrv (the plugin's life and its calls), codec (how keys and values are written), cluster (reads from all namesrvs,
// writes to all), peer (one namesrv: its queue of writes and whether it answers), repair (brings a namesrv that was away up to
// date), usage (limits).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newNamesrv()) }
