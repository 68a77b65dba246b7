// Command auth-http is an lmqgate auth plugin that asks a web service, the webhook, who may connect and what each client may do. See
// README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
