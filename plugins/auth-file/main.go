// Command auth-file is an auth plugin of lmqgate: users with bcrypt or argon2id hashes and topic rules in a YAML file, which is
// read again when it changes. Run by hand, it makes hashes and checks such files. See README.md.
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
