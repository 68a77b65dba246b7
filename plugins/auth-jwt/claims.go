package main

import (
	"strings"

	"github.com/lmqgate/lmqgate/plugins/internal/scalar"
)

// claims are the claims of a token with a valid signature; numbers are json.Number.
type claims map[string]any

// get finds a claim by its name, or by a dotted path of names: realm_access.roles.
func (c claims) get(name string) (any, bool) {
	if v, there := c[name]; there {
		return v, v != nil
	}
	first, rest, nested := strings.Cut(name, ".")
	for nested {
		if inner, isBlock := c[first].(map[string]any); isBlock {
			if v, there := claims(inner).get(rest); there {
				return v, true
			}
		}
		var more string // a name may itself contain dots: https://example.com/tenant
		more, rest, nested = strings.Cut(rest, ".")
		first += "." + more
	}
	return nil, false
}

// text returns a claim that is a single value.
func (c claims) text(name string) (string, bool) {
	v, there := c.get(name)
	if !there {
		return "", false
	}
	return scalar.Text(v)
}

// texts returns a claim that is a single value or a list of values.
func (c claims) texts(name string) []string {
	v, _ := c.get(name)
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	var out []string
	for _, item := range list {
		if s, ok := scalar.Text(item); ok {
			out = append(out, s)
		}
	}
	return out
}
