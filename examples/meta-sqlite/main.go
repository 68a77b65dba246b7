// Command meta-sqlite is a meta plugin of lmqgate that keeps the gateway's metadata in an SQLite database. See README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

func main() { sdk.ServeMeta(newPlugin()) }
