// Command meta-local is the lmqgate meta plugin that stores the metadata of one node in a file (bbolt). It needs no service.
//
// Files: local (life cycle and calls), file (the format of the file, and reads), committer (one goroutine that writes; all waiting
// writes share one fsync), changes (recent changes, for watches).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newLocal()) }
