package config

import (
	"cmp"
	"maps"
	"net"
	"net/url"
	"slices"
)

// Address is the address of a service.
type Address struct {
	// Shown is the address without secrets, Dial is host:port.
	Shown, Dial string
}

// Addresses finds the addresses of a service in a plugin's block: the first key whose value is an address or a list of addresses.
func (p PluginConfig) Addresses() (key string, found []Address) {
	for _, key := range slices.Sorted(maps.Keys(p)) {
		list, ok := p[key].([]any)
		if !ok {
			list = []any{p[key]}
		}
		for _, v := range list {
			text, _ := v.(string)
			if u, err := url.Parse(text); err == nil && u.Host != "" {
				port := cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
				found = append(found, Address{Shown: u.Redacted(), Dial: net.JoinHostPort(u.Hostname(), port)})
			} else if host, _, err := net.SplitHostPort(text); err == nil && host != "" {
				found = append(found, Address{Shown: text, Dial: text})
			}
		}
		if len(found) > 0 {
			return key, found
		}
	}
	return "", nil
}
