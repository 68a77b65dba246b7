// Command meta-namesrv is the lmqgate meta plugin that stores the metadata in RocketMQ's name servers (kvconfig), where Apache RocketMQ
// MQTT has its own.
//
// Files: namesrv (life cycle and calls), codec (encoding of keys and values), cluster (reads from all name servers, writes to all), peer
// (one name server: its write queue, and whether it answers), repair (updates a name server that was away), usage (limits).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newNamesrv()) }
