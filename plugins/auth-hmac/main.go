// Command auth-hmac is lmqgate's default auth plugin: passwords are HMAC-SHA1 signatures of the client identifier, as
// Apache RocketMQ MQTT's, for several users, each with optional topic rules. See README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
