// Package scalar reads single values out of decoded JSON.
package scalar

import (
	"encoding/json"
	"strconv"
)

// Text returns the text of a string, number or boolean; numbers are json.Number.
func Text(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
