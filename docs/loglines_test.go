package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// loggedFrom are the directories whose log lines operators see.
var loggedFrom = []string{"../cmd", "../core", "../internal", "../remoting", "../plugins"}

// passOn are functions that log what somebody else said: a plugin, a library, or a caller whose own call is read.
var passOn = map[string]bool{
	"core/pluginhost/logs.go": true, "core/store/rocketmq/log.go": true, "internal/repeat/repeat.go": true, "internal/calm/calm.go": true,
	"plugins/sdk/log.go": true,
}

// notLoggers have methods or functions with the names of a logger's.
var notLoggers = map[string]bool{"http": true, "status": true, "rpctypes": true, "require": true, "assert": true, "t": true, "b": true}

// logLine is what the source logs at a level of warn and above, and where.
type logLine struct{ level, message, at string }

// logLines reads them from the source. A message is a constant; or a parameter, and then what the callers give; or a variable, and then
// what is assigned to it.
func logLines(t *testing.T) []logLine {
	t.Helper()
	var out []logLine
	packages := make(map[string][]*ast.File)
	fset := token.NewFileSet()
	for _, dir := range loggedFrom {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			name := strings.TrimPrefix(filepath.ToSlash(path), "../")
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "testdata" || d.Name() == "templates" || strings.HasSuffix(d.Name(), "test")):
				return filepath.SkipDir
			case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || passOn[name]:
				return nil
			}
			f, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], f)
			return err
		}))
	}
	for _, files := range packages {
		for _, f := range files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil {
					continue
				}
				ast.Inspect(fn.Body, func(n ast.Node) bool {
					call, ok := n.(*ast.CallExpr)
					if !ok {
						return true
					}
					level, message := logged(call)
					if message == nil {
						return true
					}
					at := strings.TrimPrefix(fset.Position(call.Pos()).String(), "../")
					texts := textsOf(message, fn, files)
					require.NotEmpty(t, texts, "%s: what this logs cannot be read from the source: give it a constant message", at)
					for _, text := range texts {
						out = append(out, logLine{level, text, at})
					}
					return true
				})
			}
		}
	}
	return out
}

// logged returns the level and the message of a call that logs, and no message of any other call.
func logged(call *ast.CallExpr) (level string, message ast.Expr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	if of, ok := method.X.(*ast.Ident); ok && notLoggers[of.Name] {
		return "", nil
	}
	args := call.Args
	switch name := method.Sel.Name; name {
	case "Warn", "Error":
		if len(args) == 0 {
			return "", nil // the text of an error
		}
		// A repeat.Log is given what repeats before the message: no key of a log line stands there.
		if of := called(method.X); (of == "repeat" || of == "failures") && len(args) > 1 {
			return strings.ToLower(name), args[1]
		}
		return strings.ToLower(name), args[0]
	case "WarnContext", "ErrorContext":
		return strings.ToLower(strings.TrimSuffix(name, "Context")), args[1]
	case "Log", "LogAttrs":
		if len(args) < 3 {
			return "", nil
		}
		switch called(args[1]) {
		case "LevelWarn":
			return "warn", args[2]
		case "LevelError":
			return "error", args[2]
		}
	}
	return "", nil
}

// called is the last part of a name.
func called(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// textsOf returns what a message may be. Of one that goes on with a value it is the constant part.
func textsOf(e ast.Expr, fn *ast.FuncDecl, files []*ast.File) []string {
	switch e := e.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		if err != nil || e.Kind != token.STRING {
			return nil
		}
		return []string{text}
	case *ast.BinaryExpr:
		var out []string
		left, right := textsOf(e.X, fn, files), textsOf(e.Y, fn, files)
		if len(right) == 0 {
			return left
		}
		for _, l := range left {
			for _, r := range right {
				out = append(out, l+r)
			}
		}
		return out
	case *ast.Ident:
		if i := parameter(fn, e.Name); i >= 0 {
			return given(fn.Name.Name, i, files)
		}
		return assigned(fn, e.Name, files)
	}
	return nil
}

// parameter returns the place of a parameter, or -1.
func parameter(fn *ast.FuncDecl, name string) int {
	i := 0
	for _, field := range fn.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == name {
				return i
			}
			i++
		}
	}
	return -1
}

// given returns what the calls of a function in its package give for a parameter.
func given(function string, place int, files []*ast.File) (out []string) {
	for _, f := range files {
		for _, d := range f.Decls {
			caller, ok := d.(*ast.FuncDecl)
			if !ok || caller.Body == nil {
				continue
			}
			ast.Inspect(caller.Body, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok && called(call.Fun) == function && len(call.Args) > place {
					out = append(out, textsOf(call.Args[place], caller, files)...)
				}
				return true
			})
		}
	}
	return out
}

// assigned returns what a function assigns to one of its variables.
func assigned(fn *ast.FuncDecl, name string, files []*ast.File) (out []string) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if called(left) == name && len(n.Rhs) == len(n.Lhs) {
					out = append(out, textsOf(n.Rhs[i], fn, files)...)
				}
			}
		case *ast.ValueSpec:
			for i, left := range n.Names {
				if left.Name == name && len(n.Values) == len(n.Names) {
					out = append(out, textsOf(n.Values[i], fn, files)...)
				}
			}
		}
		return true
	})
	return out
}

var (
	lineRow  = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (warn|error) \\| ([^|]+) \\| ([^|]+) \\|$")
	startRow = regexp.MustCompile("(?m)^\\| `[^`]+` \\| (?:warn|error) ")
)

func TestTroubleshootingHasEveryLogLineOfWarnAndErrorWithItsRemedy(t *testing.T) {
	page, err := os.ReadFile("troubleshooting.md")
	require.NoError(t, err)
	told := make(map[string]string)
	rows := lineRow.FindAllStringSubmatch(string(page), -1)
	require.Len(t, startRow.FindAllString(string(page), -1), len(rows), "a row lacks its cause or its remedy")
	for _, row := range rows {
		require.NotContains(t, told, row[1], "this line is there twice")
		told[row[1]] = row[2]
	}
	logged := make(map[string]bool)
	for _, l := range logLines(t) {
		message := strings.TrimSpace(l.message)
		logged[message] = true
		require.Equal(t, l.level, told[message], "docs/troubleshooting.md lacks this line, or has it at another level; %s logs: %s", l.at, message)
	}
	for message := range told {
		require.True(t, logged[message], "docs/troubleshooting.md has a line that nothing logs: %s", message)
	}
	require.Greater(t, len(logged), 150, "the source was not read")
}
