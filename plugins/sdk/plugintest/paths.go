package plugintest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// place is a path in a configuration: names of blocks, and indexes of lists.
type place []any

// String formats the place as a plugin's problems name it: "users[0].secret_key".
func (p place) String() string {
	var b strings.Builder
	for _, step := range p {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}

// get returns the value at the place, or nil.
func (p place) get(config map[string]any) any {
	var v any = config
	for _, step := range p {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

// with returns a copy of the configuration with v at the place; it creates missing blocks. remove removes the key instead.
func (p place) with(config map[string]any, v any) map[string]any { return p.edit(config, v, false) }

func (p place) without(config map[string]any) map[string]any { return p.edit(config, nil, true) }

func (p place) edit(config map[string]any, v any, remove bool) map[string]any {
	out := deepCopy(config)
	var at any = out
	for i, step := range p {
		last := i == len(p)-1
		switch step := step.(type) {
		case string:
			m, ok := at.(map[string]any)
			switch {
			case !ok:
				return out
			case last && remove:
				delete(m, step)
			case last:
				m[step] = v
			case m[step] == nil:
				m[step] = map[string]any{}
			}
			at = m[step]
		case int:
			l, ok := at.([]any)
			if !ok || step >= len(l) {
				return out
			}
			if last {
				l[step] = v
			}
			at = l[step]
		}
	}
	return out
}

func deepCopy(config map[string]any) map[string]any {
	text, err := json.Marshal(config)
	if err != nil {
		return map[string]any{}
	}
	out := map[string]any{}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	_ = dec.Decode(&out)
	return out
}

// locate finds the places that a configuration key of Describe names, such as "users[].secret_key" or "limits.*.rate": in the first element
// of each list and the first block of each map that the configuration has. If a list or map on the way is missing, the result is empty; a
// block may be missing.
func locate(config map[string]any, path string) []place {
	at := place{}
	for step := range strings.SplitSeq(path, ".") {
		name, lists := step, 0
		for strings.HasSuffix(name, "[]") {
			name = strings.TrimSuffix(name, "[]")
			lists++
		}
		if name == "*" {
			m, _ := at.get(config).(map[string]any)
			if len(m) == 0 {
				return nil
			}
			name = slices.Sorted(maps.Keys(m))[0]
		}
		at = append(at, name)
		for range lists {
			l, _ := at.get(config).([]any)
			if len(l) == 0 {
				return nil
			}
			at = append(at, 0)
		}
	}
	return []place{at}
}

// blocks returns the places in a configuration whose keys Describe lists individually: the whole, nested blocks, and the elements of lists
// and maps of blocks.
func blocks(config map[string]any, paths []string) []place {
	seen := map[string]bool{}
	var out []place
	add := func(at place) {
		if !seen[at.String()] {
			seen[at.String()] = true
			out = append(out, at)
		}
	}
	if !slices.Contains(paths, "*") {
		add(place{})
	}
	for _, path := range paths {
		for i := range len(path) {
			if path[i] != '.' || strings.HasPrefix(path[i+1:], "*") {
				continue
			}
			for _, at := range locate(config, path[:i]) {
				add(at)
			}
		}
	}
	return out
}
