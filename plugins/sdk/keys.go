package sdk

import (
	"reflect"
	"strings"

	"github.com/lmqgate/lmqgate/internal/spelling"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// field is one configurable field of a struct.
type field struct {
	name             string
	index            []int
	typ              reflect.Type
	required, secret bool
	doc, def         string
}

// fieldsOf reads the tags of a struct, in the order of its fields.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for _, sf := range reflect.VisibleFields(t) {
		tag, ok := sf.Tag.Lookup("config")
		if !ok || tag == "-" || !sf.IsExported() {
			continue
		}
		name, flags, _ := strings.Cut(tag, ",")
		f := field{name: name, index: sf.Index, typ: sf.Type, doc: sf.Tag.Get("doc"), def: sf.Tag.Get("default")}
		for flag := range strings.SplitSeq(flags, ",") {
			switch flag {
			case "required":
				f.required = true
			case "secret":
				f.secret = true
			}
		}
		out = append(out, f)
	}
	return out
}

// ConfigKeys describes the configuration keys of a struct; config is a value of the struct, a pointer to one, or nil. The elements of a
// list appear as "users[].username", those of a map as "limits.*".
func ConfigKeys(config any) []*pluginv1.ConfigKey {
	if config == nil {
		return nil
	}
	t := reflect.TypeOf(config)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return configKeys("", t, 0)
}

// maxConfigDepth stops a struct that contains itself.
const maxConfigDepth = 8

func configKeys(prefix string, t reflect.Type, depth int) []*pluginv1.ConfigKey {
	if depth > maxConfigDepth {
		return nil
	}
	var keys []*pluginv1.ConfigKey
	for _, f := range fieldsOf(t) {
		path := join(prefix, f.name)
		inner, suffix := nested(f.typ)
		if inner == nil || suffix != "" {
			keys = append(keys, &pluginv1.ConfigKey{
				Path: path, Type: typeName(f.typ), Required: f.required, Secret: f.secret, Description: f.doc, Default: f.def,
			})
		}
		if inner != nil {
			keys = append(keys, configKeys(path+suffix, inner, depth+1)...)
		}
	}
	return keys
}

// nested returns the struct type that a field holds directly, in a list or in a map; nil if it holds none.
func nested(t reflect.Type) (inner reflect.Type, suffix string) {
	if reflect.PointerTo(t).Implements(textType) {
		return nil, ""
	}
	switch t.Kind() {
	case reflect.Struct:
		return t, ""
	case reflect.Pointer:
		return nested(t.Elem())
	case reflect.Slice:
		if in, s := nested(t.Elem()); in != nil {
			return in, "[]" + s
		}
	case reflect.Map:
		if in, s := nested(t.Elem()); in != nil {
			return in, ".*" + s
		}
	}
	return nil, ""
}

func typeName(t reflect.Type) string {
	if t == durationType {
		return "duration"
	}
	if reflect.PointerTo(t).Implements(textType) {
		return "string"
	}
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "int"
	case reflect.Float32, reflect.Float64:
		return "float"
	case reflect.Slice:
		return "list"
	case reflect.Map:
		return "map"
	case reflect.Pointer:
		return typeName(t.Elem())
	}
	return "string"
}

// unknownKey returns the message for an unknown key.
func unknownKey(name string, known []string) string {
	if len(known) == 0 {
		return "unknown key; no keys are known here"
	}
	if meant := spelling.Nearest(strings.ToLower(name), known); meant != "" {
		return "unknown key; did you mean " + meant + "?"
	}
	return "unknown key; the keys here are " + strings.Join(known, ", ")
}
