package config

import "reflect"

// Differences lists the keys whose values differ between two configurations, in the order of the schema. Lists and plugin blocks are
// compared as a whole. The result never contains values.
func Differences(a, b *Config) []string {
	return appendDifferences(nil, "", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem())
}

func appendDifferences(keys []string, prefix string, a, b reflect.Value) []string {
	for f := range a.Type().Fields() {
		name := keyOf(f)
		if name == "" {
			continue
		}
		x, y, key := a.FieldByIndex(f.Index), b.FieldByIndex(f.Index), join(prefix, name)
		switch {
		case f.Type.Kind() == reflect.Struct && f.Type != secretType && f.Type != syncType:
			keys = appendDifferences(keys, key, x, y)
		case (f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Slice) && x.Len() == 0 && y.Len() == 0:
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			keys = append(keys, key)
		}
	}
	return keys
}
