// Command auth-jwt is an lmqgate auth plugin for JSON Web Tokens (RFC 7519). Signature, claims and expiry of the token decide who may
// connect. Configured rules, and rules in the token's claims, decide what each client may do. See README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
