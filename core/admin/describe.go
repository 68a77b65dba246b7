package admin

import (
	_ "embed" // the page's template
	"html/template"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

//go:embed describe.html
var describeHTML string

var describeTemplate = template.Must(template.New("describe").Parse(describeHTML))

// describe serves a page that lists the operations, made from the OpenAPI document. It loads nothing and runs no script.
func describe(api huma.API) http.HandlerFunc {
	type described struct {
		Method, Path, ID, Summary string
		Parameters                []*huma.Param
	}
	type section struct {
		Tag        string
		Operations []described
	}
	var sections []section
	for path, item := range api.OpenAPI().Paths {
		for method, op := range map[string]*huma.Operation{"GET": item.Get, "PUT": item.Put, "POST": item.Post, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			i := slices.IndexFunc(sections, func(s section) bool { return s.Tag == op.Tags[0] })
			if i < 0 {
				i, sections = len(sections), append(sections, section{Tag: op.Tags[0]})
			}
			sections[i].Operations = append(sections[i].Operations, described{method, path, op.OperationID, op.Summary, op.Parameters})
		}
	}
	slices.SortFunc(sections, func(a, b section) int { return strings.Compare(a.Tag, b.Tag) })
	for _, s := range sections {
		slices.SortFunc(s.Operations, func(a, b described) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		_ = describeTemplate.Execute(w, sections) // the client may have left
	}
}
