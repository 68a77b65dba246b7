package sdk

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/lmqgate/lmqgate/plugins/internal/scalar"
)

// Decode decodes a configuration block, a JSON object, into dst, a pointer to a struct. Fields are described by tags:
//
//	Endpoints []string      `config:"endpoints,required" doc:"host:port of each server"`
//	Password  string        `config:"password,secret"`
//	Timeout   time.Duration `config:"timeout" default:"3s"`
//	TLS       TLS           `config:"tls"`                    // a nested block
//
// Fields without a config tag are ignored. Known types: string, bool, integers, floats, time.Duration (written "3s"), anything that
// implements encoding.TextUnmarshaler, and structs, pointers to structs, slices and maps with string keys of these. A string is accepted as
// a number or a boolean if it reads as one, because environment variables are strings.
//
// Decode returns every problem, not only the first, with its dotted key: unknown keys (with the key that was probably meant), wrong types,
// missing required keys. A problem never repeats a value.
func Decode(block []byte, dst any) []Problem {
	rv := reflect.ValueOf(dst)
	if rv.Kind() != reflect.Pointer || rv.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("sdk.Decode wants a pointer to a struct, not %T", dst))
	}
	if len(bytes.TrimSpace(block)) == 0 {
		block = []byte("{}")
	}
	dec := json.NewDecoder(bytes.NewReader(block))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return []Problem{Problemf("", "not valid JSON: %v", err)}
	}
	d := &decoder{}
	d.decode("", v, rv.Elem())
	return d.problems
}

type decoder struct{ problems []Problem }

func (d *decoder) problem(key, format string, args ...any) {
	d.problems = append(d.problems, Problemf(key, format, args...))
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// decode sets rv from v; null leaves rv unchanged.
func (d *decoder) decode(key string, v any, rv reflect.Value) {
	if v == nil {
		if rv.Kind() == reflect.Struct {
			d.structure(key, nil, rv)
		}
		return
	}
	if rv.Type() == durationType {
		d.duration(key, v, rv)
		return
	}
	if rv.CanAddr() && rv.Addr().Type().Implements(textType) {
		text, ok := scalar.Text(v)
		if !ok {
			d.problem(key, "must be a string, not %s", kindOf(v))
			return
		}
		if err := rv.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(text)); err != nil {
			d.problem(key, "%v", err)
		}
		return
	}
	switch rv.Kind() {
	case reflect.Pointer:
		p := reflect.New(rv.Type().Elem())
		d.decode(key, v, p.Elem())
		rv.Set(p)
	case reflect.Struct:
		m, ok := v.(map[string]any)
		if !ok {
			d.problem(key, "must be a block of keys, not %s", kindOf(v))
			return
		}
		d.structure(key, m, rv)
	case reflect.Slice:
		d.list(key, v, rv)
	case reflect.Map:
		d.mapping(key, v, rv)
	case reflect.Interface:
		rv.Set(reflect.ValueOf(v))
	default:
		d.scalar(key, v, rv)
	}
}

func (d *decoder) structure(key string, m map[string]any, rv reflect.Value) {
	fields := fieldsOf(rv.Type())
	known := make([]string, 0, len(fields))
	for _, f := range fields {
		known = append(known, f.name)
		v, given := m[f.name]
		if v == nil && f.def != "" {
			v = f.def
		}
		fieldKey := join(key, f.name)
		if f.required && (!given || v == nil || v == "") {
			d.problem(fieldKey, "is required")
			continue
		}
		d.decode(fieldKey, v, rv.FieldByIndex(f.index))
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if !slices.Contains(known, name) {
			d.problem(join(key, name), "%s", unknownKey(name, known))
		}
	}
}

func (d *decoder) list(key string, v any, rv reflect.Value) {
	items, ok := v.([]any)
	if !ok {
		d.problem(key, "must be a list, not %s", kindOf(v))
		return
	}
	out := reflect.MakeSlice(rv.Type(), len(items), len(items))
	for i, item := range items {
		d.decode(fmt.Sprintf("%s[%d]", key, i), item, out.Index(i))
	}
	rv.Set(out)
}

func (d *decoder) mapping(key string, v any, rv reflect.Value) {
	m, ok := v.(map[string]any)
	if !ok {
		d.problem(key, "must be a block of keys, not %s", kindOf(v))
		return
	}
	out := reflect.MakeMapWithSize(rv.Type(), len(m))
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		item := reflect.New(rv.Type().Elem()).Elem()
		d.decode(join(key, name), m[name], item)
		out.SetMapIndex(reflect.ValueOf(name).Convert(rv.Type().Key()), item)
	}
	rv.Set(out)
}

func (d *decoder) duration(key string, v any, rv reflect.Value) {
	text, ok := scalar.Text(v)
	if !ok {
		d.problem(key, "must be a duration such as 3s, not %s", kindOf(v))
		return
	}
	if text == "0" {
		rv.SetInt(0)
		return
	}
	value, err := time.ParseDuration(text)
	if err != nil {
		d.problem(key, "must be a duration with a unit, such as 500ms, 3s or 2h")
		return
	}
	rv.SetInt(int64(value))
}

func (d *decoder) scalar(key string, v any, rv reflect.Value) {
	text, ok := scalar.Text(v)
	switch rv.Kind() {
	case reflect.String:
		// A number is not accepted as a text: YAML may have read 0123 as 83.
		if _, isText := v.(string); !isText {
			d.problem(key, "must be a string, not %s; put it in quotes", kindOf(v))
			return
		}
		rv.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if _, isNumber := v.(json.Number); !ok || isNumber || err != nil {
			d.problem(key, "must be true or false, not %s", kindOf(v))
			return
		}
		rv.SetBool(b)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, rv.Type().Bits())
		if !ok || err != nil {
			d.problem(key, "must be a whole number, not %s", kindOf(v))
			return
		}
		rv.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, rv.Type().Bits())
		if !ok || err != nil {
			d.problem(key, "must be a whole number that is not negative, not %s", kindOf(v))
			return
		}
		rv.SetUint(n)
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(text, rv.Type().Bits())
		if !ok || err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
			d.problem(key, "must be a number, not %s", kindOf(v))
			return
		}
		rv.SetFloat(n)
	default:
		panic(fmt.Sprintf("sdk.Decode: configuration key %q has the type %s, which cannot be configured", key, rv.Type()))
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case string:
		return "this text"
	case json.Number:
		return "this number"
	case bool:
		return "true or false"
	case []any:
		return "a list"
	case map[string]any:
		return "a block of keys"
	}
	return "null"
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + strings.TrimSpace(name)
}
