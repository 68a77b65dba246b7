// Command auth-file is an lmqgate auth plugin. It reads users, with bcrypt or argon2id hashes and topic rules, from a YAML file, and
// reloads the file when it changes. On the command line it makes hashes and checks such files. See README.md.
package main

import (
	"os"

	"github.com/lmqgate/lmqgate/plugins/sdk"
)

// buildVersion is set by the build.
var buildVersion = "dev"

func main() {
	if len(os.Args) > 1 { // a gateway starts plugins without arguments
		os.Exit(command(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	sdk.ServeAuth(&plugin{})
}
