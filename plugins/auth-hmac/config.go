package main

import (
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicfilter"
)

// config is the plugin's configuration block.
type config struct {
	Users []user `config:"users,required" doc:"who may connect"`
}

type user struct {
	Username  string `config:"username,required" doc:"the MQTT user name"`
	SecretKey string `config:"secret_key,required,secret" doc:"the key that signs client identifiers"`
	Rules     []rule `config:"rules" doc:"what the user may do: the first match decides; no rules: everything; no match: nothing"`
}

type rule struct {
	Effect effect `config:"effect,required" doc:"allow or deny"`
	Action action `config:"action" default:"all" doc:"publish, subscribe or all"`
	Topic  string `config:"topic,required" doc:"a topic filter; %c is the client identifier, %u the user name"`
}

type effect bool

const (
	deny  effect = false
	allow effect = true
)

func (e *effect) UnmarshalText(text []byte) error {
	switch string(text) {
	case "allow":
		*e = allow
	case "deny":
		*e = deny
	default:
		return fmt.Errorf("must be allow or deny, not %q", text)
	}
	return nil
}

func (e effect) String() string {
	if e == allow {
		return "allow"
	}
	return "deny"
}

// action is a set of kinds.
type action uint8

const (
	publish action = 1 << iota
	subscribe
	all = publish | subscribe
)

func (a *action) UnmarshalText(text []byte) error {
	switch string(text) {
	case "publish":
		*a = publish
	case "subscribe":
		*a = subscribe
	case "all":
		*a = all
	default:
		return fmt.Errorf("must be publish, subscribe or all, not %q", text)
	}
	return nil
}

func (a action) String() string {
	switch a {
	case publish:
		return "publish"
	case subscribe:
		return "subscribe"
	}
	return "all"
}

// check finds what the types cannot say.
func (c *config) check() []sdk.Problem {
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
		for j, r := range u.Rules {
			sample := strings.NewReplacer("%c", "x", "%u", "x").Replace(r.Topic)
			if err := topicfilter.Validate(sample); err != nil {
				problems = append(problems, sdk.Problemf(fmt.Sprintf("users[%d].rules[%d].topic", i, j), "%v", err))
			}
		}
	}
	return problems
}
