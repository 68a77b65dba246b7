// Command auth-http is an auth plugin of lmqgate that asks a web service, the webhook, who may connect and what each may do. See
// README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
