// Command auth-hmac is lmqgate's default auth plugin. A password is the HMAC-SHA1 of the client identifier, as in Apache RocketMQ MQTT.
// It has several users, each with optional topic rules. See README.md.
package main

import "github.com/lmqgate/lmqgate/plugins/sdk"

// buildVersion is set by the build.
var buildVersion = "dev"

func main() { sdk.ServeAuth(&plugin{}) }
