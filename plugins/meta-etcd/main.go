// Command meta-etcd is the lmqgate meta plugin that stores the metadata in etcd.
//
// Files: etcd (life cycle and reads), write (operations as transactions), watch, connection (the client, also while etcd is down or
// rejects the password), leases (TTL), keys (names of keys in etcd), horizon (detects a restored etcd), failure (errors and their gRPC
// codes).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newEtcd()) }
