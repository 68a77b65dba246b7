// Command meta-etcd is the lmqgate meta plugin that keeps the metadata in etcd.
//
// Parts: etcd (the plugin's life and its reads), write (operations as transactions), watch, connection (the client, also while
// etcd is away or refuses the password), leases (TTL), keys (names of keys in etcd), horizon (notices a restored etcd), failure
// (errors and their gRPC codes).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newEtcd()) }
