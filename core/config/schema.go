package config

import (
	"reflect"
	"strings"
	"time"
)

var (
	sizeType         = reflect.TypeFor[Size]()
	syncType         = reflect.TypeFor[Sync]()
	durationType     = reflect.TypeFor[time.Duration]()
	secretType       = reflect.TypeFor[Secret]()
	pluginConfigType = reflect.TypeFor[PluginConfig]()
)

// Keys returns every key of the schema in the order of the structs. Sections come before their keys, and the keys of a list's elements are
// written "listeners[].type".
func Keys() []string {
	return appendKeys(nil, "", reflect.TypeFor[Config]())
}

func appendKeys(keys []string, prefix string, t reflect.Type) []string {
	for f := range t.Fields() {
		name := keyOf(f)
		if name == "" {
			continue
		}
		key := join(prefix, name)
		keys = append(keys, key)
		switch ft := f.Type; {
		case ft.Kind() == reflect.Struct:
			keys = appendKeys(keys, key, ft)
		case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
			keys = appendKeys(keys, key+"[]", ft.Elem())
		}
	}
	return keys
}

// keyOf returns the key of a field, "" for fields without a key.
func keyOf(f reflect.StructField) string {
	if name := f.Tag.Get("yaml"); name != "-" {
		return name
	}
	return ""
}

func fieldByKey(t reflect.Type, name string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if name != "" && keyOf(f) == name {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// typeAt returns the type of the value at a path, or nil if the schema has none there, as for everything inside a plugin's block.
func typeAt(path []string) reflect.Type {
	t := reflect.TypeFor[Config]()
	for _, name := range path {
		if t.Kind() != reflect.Struct {
			return nil
		}
		f, ok := fieldByKey(t, name)
		if !ok {
			return nil
		}
		t = f.Type
	}
	return t
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// parent returns the key one level up: "a[0].b" -> "a[0]" -> "a" -> "".
func parent(key string) string {
	if i := strings.LastIndexAny(key, ".["); i >= 0 {
		return key[:i]
	}
	return ""
}
