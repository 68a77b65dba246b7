package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/lmqgate/lmqgate/plugins/sdk"
	"github.com/lmqgate/lmqgate/plugins/sdk/topicrules"
)

// Attributes of admitted clients, which the gateway keeps and hands back in every question. So the plugin keeps nothing of
// clients, and a restart of it loses nothing.
const (
	rulesAttribute = "rules"
	claimAttribute = "claim:" // and the name of the claim
)

// ruleList is the claim with rules in the form of the configuration, and the form of the attribute.
type ruleList struct {
	Rules []topicrules.Rule `config:"rules,required"`
}

// filterLists is the claim with rules in the short form: filters that are allowed.
type filterLists struct {
	Publish   []string `config:"publish"`
	Subscribe []string `config:"subscribe"`
	All       []string `config:"all"`
}

// rulesOf reads the claim with rules.
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

// encodeRules is the attribute that decodeRules reads.
func encodeRules(rules []topicrules.Rule) string {
	list := make([]map[string]string, len(rules))
	for i, r := range rules {
		list[i] = map[string]string{"effect": r.Effect.String(), "action": r.Action.String(), "topic": r.Topic}
	}
	text, _ := json.Marshal(map[string]any{"rules": list}) // texts can always be marshalled
	return string(text)
}

// attributesOf is what Authorize needs of a token: its rules, and the claims that rules name.
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

// valuesOf are the claims among attributes.
func valuesOf(attributes map[string]string) map[string]string {
	out := make(map[string]string)
	for k, v := range attributes {
		if name, ok := strings.CutPrefix(k, claimAttribute); ok {
			out[name] = v
		}
	}
	return out
}
