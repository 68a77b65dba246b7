// Command auth-jwt is an auth plugin of lmqgate: clients show JSON Web Tokens (RFC 7519), whose signatures, claims and expiry
// decide who may connect, and whose claims, beside configured rules, decide what each may do. See README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
