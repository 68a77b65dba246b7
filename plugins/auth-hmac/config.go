package main

import (
	"fmt"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// config is the plugin's configuration block.
type config struct {
	Users []user `config:"users,required" doc:"who may connect"`
}

type user struct {
	Username  string            `config:"username,required" doc:"the MQTT user name"`
	SecretKey string            `config:"secret_key,required,secret" doc:"the key that signs client identifiers"`
	Rules     []topicrules.Rule `config:"rules" doc:"what the user may do: the first match decides; no rules: everything; no match: nothing"`
}

// Check implements sdk.Checker: it checks rules that the types cannot express.
func (c *config) Check() []sdk.Problem {
	var problems []sdk.Problem
	if len(c.Users) == 0 {
		problems = append(problems, sdk.Problemf("users", "names nobody, so nobody could connect; write at least one user"))
	}
	seen := make(map[string]int)
	for i, u := range c.Users {
		if first, there := seen[u.Username]; there {
			problems = append(problems, sdk.Problemf(fmt.Sprintf("users[%d].username", i), "is the same as users[%d].username", first))
		} else {
			seen[u.Username] = i
		}
		problems = append(problems, topicrules.Check(fmt.Sprintf("users[%d].rules", i), u.Rules, false)...)
	}
	return problems
}
