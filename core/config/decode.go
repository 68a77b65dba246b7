package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

// decoder fills the structs from merged maps. It converts no value to another type, because YAML's reading of an unquoted word is rarely
// what was meant (token: 0123, id: 1e3).
type decoder struct {
	problems *problems
}

// decode sets dst from raw. A null leaves dst unchanged, so an empty section keeps its defaults.
func (d decoder) decode(key string, raw any, dst reflect.Value) {
	if raw == nil {
		return
	}
	switch t := dst.Type(); t {
	case sizeType:
		decodeScalar(d, key, raw, dst, ParseSize)
		return
	case syncType:
		decodeScalar(d, key, raw, dst, ParseSync)
		return
	case durationType:
		decodeScalar(d, key, raw, dst, parseDuration)
		return
	case secretType:
		if s, ok := raw.(string); ok {
			dst.SetString(s)
		} else {
			d.problems.add(key, "wants text; put the value in quotes")
		}
		return
	case pluginConfigType:
		m, ok := raw.(map[string]any)
		if !ok {
			d.problems.add(key, "wants keys and values for the plugin, not %s", describe(raw))
			return
		}
		dst.Set(reflect.ValueOf(PluginConfig(m)))
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		d.decodeSection(key, raw, dst)
	case reflect.Slice:
		d.decodeList(key, raw, dst)
	case reflect.Map:
		d.decodeTexts(key, raw, dst)
	case reflect.String:
		if s, ok := raw.(string); ok {
			dst.SetString(s)
		} else {
			d.problems.add(key, "wants text, not %s%s", describe(raw), quotesHelp(raw))
		}
	case reflect.Bool:
		if b, ok := raw.(bool); ok {
			dst.SetBool(b)
		} else {
			d.problems.add(key, "wants true or false, not %s", describe(raw))
		}
	case reflect.Int:
		if n, ok := wholeNumber(raw); ok {
			dst.SetInt(n)
		} else {
			d.problems.add(key, "wants a whole number, not %s", describe(raw))
		}
	case reflect.Float64:
		if n, ok := number(raw); ok {
			dst.SetFloat(n)
		} else {
			d.problems.add(key, "wants a number, not %s", describe(raw))
		}
	default:
		panic("config: no decoder for " + dst.Type().String()) // a field of a new kind: programming error
	}
}

func (d decoder) decodeSection(key string, raw any, dst reflect.Value) {
	m, ok := raw.(map[string]any)
	if !ok {
		d.problems.add(key, "wants keys and values, not %s", describe(raw))
		return
	}
	t := dst.Type()
	for _, name := range sortedKeys(m) {
		if _, ok := fieldByKey(t, name); !ok {
			full := join(key, name)
			d.problems.add(full, "%s", unknown(generic(full)))
		}
	}
	for i := range t.NumField() {
		name := keyOf(t.Field(i))
		if name == "" {
			continue
		}
		if v, ok := m[name]; ok {
			d.decode(join(key, name), v, dst.Field(i))
		}
	}
}

// decodeList replaces a list, including the elements of the default.
func (d decoder) decodeList(key string, raw any, dst reflect.Value) {
	list, ok := raw.([]any)
	if !ok {
		d.problems.add(key, "wants a list, not %s", describe(raw))
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(list), len(list))
	for i, item := range list {
		at := key + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			d.problems.add(at, "is empty")
			continue
		}
		d.decode(at, item, out.Index(i))
	}
	dst.Set(out)
}

func (d decoder) decodeTexts(key string, raw any, dst reflect.Value) {
	m, ok := raw.(map[string]any)
	if !ok {
		d.problems.add(key, "wants keys and values, not %s", describe(raw))
		return
	}
	out := make(map[string]string, len(m))
	for _, name := range sortedKeys(m) {
		if s, ok := m[name].(string); ok {
			out[name] = s
		} else {
			d.problems.add(join(key, name), "wants text, not %s%s", describe(m[name]), quotesHelp(m[name]))
		}
	}
	dst.Set(reflect.ValueOf(out))
}

// decodeScalar decodes types that files write as text or as a bare number.
func decodeScalar[T any](d decoder, key string, raw any, dst reflect.Value, parse func(string) (T, error)) {
	text, ok := raw.(string)
	if !ok {
		n, whole := wholeNumber(raw)
		text = strconv.FormatInt(n, 10)
		if !whole {
			text = describe(raw)
		}
	}
	v, err := parse(text)
	if err != nil {
		d.problems.add(key, "%s", err)
		return
	}
	dst.Set(reflect.ValueOf(v))
}

func wholeNumber(raw any) (int64, bool) {
	switch n := raw.(type) {
	case int:
		return int64(n), true
	case int64:
		return n, true
	case uint64:
		return int64(n), n <= math.MaxInt64
	case float64:
		return int64(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return 0, false
}

func number(raw any) (float64, bool) {
	if n, ok := raw.(float64); ok {
		return n, true
	}
	n, ok := wholeNumber(raw)
	return float64(n), ok
}

// describe names a value of a file, for the end of "wants X, not …".
func describe(raw any) string {
	switch v := raw.(type) {
	case nil:
		return "nothing"
	case map[string]any:
		return "keys and values"
	case []any:
		return "a list"
	case string:
		if v == "" {
			return "an empty text"
		}
		return quote(v)
	case time.Time:
		return "the date " + v.Format(time.DateOnly)
	default:
		return fmt.Sprint(v)
	}
}

func quotesHelp(raw any) string {
	switch raw.(type) {
	case map[string]any, []any, nil:
		return ""
	}
	return "; put it in quotes"
}

// plain converts YAML values to what JSON can express: maps with text keys, lists, texts, numbers, booleans and null. Plugins get nothing
// else.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[k] = plain(item)
		}
		return out
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, item := range v {
			out[fmt.Sprint(k)] = plain(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = plain(item)
		}
		return out
	case time.Time:
		if v.Equal(v.Truncate(24 * time.Hour)) {
			return v.Format(time.DateOnly)
		}
		return v.Format(time.RFC3339Nano)
	case []byte:
		return string(v)
	default:
		return v
	}
}
