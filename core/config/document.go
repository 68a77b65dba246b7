package config

import (
	_ "embed" // for the comments of the structs
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

// Reference returns the tables of all keys, in Markdown: a section for each section of the file, and in it key, form, default and meaning.
func Reference() (string, error) {
	comments, err := fieldComments()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	var section func(key, title string, v reflect.Value)
	section = func(key, title string, v reflect.Value) {
		type sub struct {
			key, title string
			value      reflect.Value
		}
		var subs []sub
		rows := 0
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name := keyOf(f)
			if name == "" {
				continue
			}
			meaning := comments[v.Type().Name()+"."+f.Name]
			full := join(key, name)
			if meaning == "" {
				err = fmt.Errorf("the key %s has no comment in the source", full)
			}
			switch ft := f.Type; {
			case ft.Kind() == reflect.Struct:
				subs = append(subs, sub{full, meaning, v.Field(i)})
			case ft.Kind() == reflect.Slice && ft.Elem().Kind() == reflect.Struct:
				subs = append(subs, sub{full + "[]", meaning, reflect.New(ft.Elem()).Elem()})
			default:
				if rows++; rows == 1 {
					fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| key | form | default | meaning |\n|---|---|---|---|\n", title, comments[title])
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", full, form(ft), defaultText(full, v.Field(i)), strings.ReplaceAll(meaning, "|", "\\|"))
			}
		}
		for _, s := range subs {
			comments[s.key] = s.title
			section(s.key, s.key, s.value)
		}
	}
	section("", "", reflect.ValueOf(Default()).Elem())
	return b.String() + "\n", err
}

// source is the source code of the structs; their comments are the meanings of the keys.
//
//go:embed config.go
var source string

// fieldComments returns "Type.Field" -> comment.
func fieldComments() (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					out[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return true
	})
	return out, nil
}

func form(t reflect.Type) string {
	switch t {
	case sizeType:
		return "size"
	case durationType:
		return "duration"
	case syncType:
		return "`always` or duration"
	case pluginConfigType:
		return "keys of the plugin"
	}
	switch t.Kind() {
	case reflect.Slice:
		return "list of texts"
	case reflect.Map:
		return "texts by name"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Float64:
		return "number"
	default:
		return "text"
	}
}

// defaultText returns the default of a key; defaults that depend on other values are described in the meaning, and in the text above the
// tables.
func defaultText(key string, v reflect.Value) string {
	switch key {
	case "topics.auto_create", "plugins.dir", "auth.config", "meta.config", "listeners[].path", "listeners[].permissions",
		"listeners[].client_cert", "listeners[].tls_min_version":
		return "see meaning"
	case "listeners[].type", "listeners[].address":
		return "required"
	}
	switch v.Kind() {
	case reflect.Slice:
		return fmt.Sprintf("`%q`", v.Interface())
	case reflect.Map:
		return "`{}`"
	case reflect.String:
		if v.String() == "" {
			return "`\"\"`"
		}
	}
	return "`" + render(v).Value + "`"
}
