// Command meta-local is the lmqgate meta plugin that keeps the metadata of one node in a file (bbolt), with no service beside it.
//
// Parts: local (the plugin's life and its calls), file (what is in the file and how it is read), committer (one goroutine that
// writes; all writes that wait share an fsync), changes (the last changes, for watches).
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeMeta(newLocal()) }
