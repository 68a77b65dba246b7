package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// Attributes of admitted clients, which the gateway stores and returns with every request. So the plugin has no per-client state to lose at
// a restart.
const (
	rulesAttribute = "rules"
	claimAttribute = "claim:" // followed by the name of the claim
)

// ruleList is the rules claim in the form of the configuration. The attribute has the same form.
type ruleList struct {
	Rules []topicrules.Rule `config:"rules,required"`
}

// filterLists is the rules claim in its short form: allowed filters.
type filterLists struct {
	Publish   []string `config:"publish"`
	Subscribe []string `config:"subscribe"`
	All       []string `config:"all"`
}

// rulesOf reads the rules claim.
func rulesOf(claim any) ([]topicrules.Rule, error) {
	switch v := claim.(type) {
	case []any:
		text, err := json.Marshal(map[string]any{"rules": v})
		if err != nil {
			return nil, err
		}
		return decodeRules(text)
	case map[string]any:
		text, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		var lists filterLists
		if problems := sdk.Decode(text, &lists); len(problems) > 0 {
			return nil, problemsError(problems)
		}
		var rules []topicrules.Rule
		for _, part := range []struct {
			action  topicrules.Action
			filters []string
		}{{topicrules.Publish, lists.Publish}, {topicrules.Subscribe, lists.Subscribe}, {topicrules.All, lists.All}} {
			for _, f := range part.filters {
				rules = append(rules, topicrules.Rule{Effect: topicrules.Allow, Action: part.action, Topic: f})
			}
		}
		return checked(rules)
	}
	return nil, errors.New("must be a list of rules, or publish, subscribe and all with lists of filters")
}

func decodeRules(text []byte) ([]topicrules.Rule, error) {
	var list ruleList
	if problems := sdk.Decode(text, &list); len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return checked(list.Rules)
}

func checked(rules []topicrules.Rule) ([]topicrules.Rule, error) {
	if problems := topicrules.Check("rules", rules, true); len(problems) > 0 {
		return nil, problemsError(problems)
	}
	return rules, nil
}

func problemsError(problems []sdk.Problem) error {
	p := problems[0]
	return fmt.Errorf("%s: %s", p.Key, p.Message)
}

// encodeRules encodes rules as the attribute that decodeRules reads.
func encodeRules(rules []topicrules.Rule) string {
	list := make([]map[string]string, len(rules))
	for i, r := range rules {
		list[i] = map[string]string{"effect": r.Effect.String(), "action": r.Action.String(), "topic": r.Topic}
	}
	text, _ := json.Marshal(map[string]any{"rules": list}) // texts can always be marshalled
	return string(text)
}

// attributesOf returns what Authorize needs from a token: its rules, and the claims that rules refer to.
func attributesOf(c claims, static, own []topicrules.Rule) map[string]string {
	out := make(map[string]string)
	if len(own) > 0 {
		out[rulesAttribute] = encodeRules(own)
	}
	for _, name := range append(topicrules.Values(static), topicrules.Values(own)...) {
		if v, ok := c.text(name); ok {
			out[claimAttribute+name] = v
		}
	}
	return out
}

// valuesOf returns the claims among attributes.
func valuesOf(attributes map[string]string) map[string]string {
	out := make(map[string]string)
	for k, v := range attributes {
		if name, ok := strings.CutPrefix(k, claimAttribute); ok {
			out[name] = v
		}
	}
	return out
}
