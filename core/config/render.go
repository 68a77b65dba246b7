package config

import (
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"time"

	goyaml "go.yaml.in/yaml/v3"
)

// String returns the configuration as YAML, secrets hidden.
func (c *Config) String() string {
	out, err := goyaml.Marshal(render(reflect.ValueOf(c).Elem()))
	if err != nil {
		return "configuration cannot be shown: " + err.Error()
	}
	return string(out)
}

// Shown returns the configuration as nested maps, as in a file, secrets hidden.
func (c *Config) Shown() map[string]any {
	out := make(map[string]any)
	if err := goyaml.Unmarshal([]byte(c.String()), &out); err != nil {
		out["error"] = err.Error()
	}
	return out
}

// LogValue returns the configuration for slog, secrets hidden.
func (c *Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// render turns a value into YAML that keeps the order of the schema.
func render(v reflect.Value) *goyaml.Node {
	switch value := v.Interface().(type) {
	case time.Duration:
		return scalar(formatDuration(value), "")
	case fmt.Stringer:
		return scalar(value.String(), "")
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &goyaml.Node{Kind: goyaml.MappingNode}
		for i := range v.NumField() {
			if name := keyOf(v.Type().Field(i)); name != "" {
				n.Content = append(n.Content, scalar(name, ""), render(v.Field(i)))
			}
		}
		return n
	case reflect.Slice:
		n := &goyaml.Node{Kind: goyaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, render(v.Index(i)))
		}
		return n
	case reflect.Map:
		n := &goyaml.Node{Kind: goyaml.MappingNode}
		m, _ := reflect.TypeAssert[map[string]string](v)
		for _, k := range sortedKeys(m) {
			n.Content = append(n.Content, scalar(k, ""), scalar(m[k], "!!str"))
		}
		return n
	case reflect.Bool:
		return scalar(strconv.FormatBool(v.Bool()), "")
	case reflect.Int:
		return scalar(strconv.FormatInt(v.Int(), 10), "")
	case reflect.Float64:
		return scalar(strconv.FormatFloat(v.Float(), 'f', -1, 64), "")
	default:
		return scalar(v.String(), "!!str")
	}
}

func scalar(text, tag string) *goyaml.Node {
	n := &goyaml.Node{Kind: goyaml.ScalarNode, Value: text, Tag: tag}
	if tag == "" && text == "" {
		n.Tag = "!!str"
	}
	return n
}

var _ slog.LogValuer = (*Config)(nil)
