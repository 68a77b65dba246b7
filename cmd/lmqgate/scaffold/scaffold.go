// Package scaffold writes the projects of `lmqgate plugin init`: small plugins in Go and Python that build, pass their own
// tests and lmqgate's conformance cases, and serve a gateway as they are.
//
// A project is a few templates: those of its language, and those of its language and kind. A template's placeholders are @NAME@ and the
// like; see Project.placeholders. Projects in Python get a copy of plugins/python, which they own from then on. Nothing is written outside
// the project's directory, and no existing file is changed.
package scaffold

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/lmqgate/lmqgate/plugins/python"
)

//go:embed all:templates
var templates embed.FS

// Kinds and Languages are the supported kinds and languages.
var (
	Kinds     = []string{"auth", "meta"}
	Languages = []string{"go", "python"}
)

// Project describes the project to write.
type Project struct {
	// Kind and Language are elements of Kinds and Languages.
	Kind, Language string
	// Dir is the directory of the project: it is created, or must be empty. Its last element is the plugin's name.
	Dir string
	// Module is the version and source of lmqgate's Go module for the project.
	Module Module
	// Command is the absolute path of the lmqgate that the project's Makefile calls; empty for the one on the PATH.
	Command string
}

// name matches valid names of plugins, which are file names and parts of module paths.
var name = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Name returns the plugin's name, or an error if the last element of Dir is no valid name.
func (p Project) Name() (string, error) {
	abs, err := filepath.Abs(p.Dir)
	if err != nil {
		return "", err
	}
	base := filepath.Base(abs)
	if !name.MatchString(base) {
		return "", fmt.Errorf("the directory's name is the plugin's, and %q cannot be one: use lower-case letters, digits and single hyphens, as in %s-shop", base, p.Kind)
	}
	return base, nil
}

// Write writes the project. An error is one line; files written before it stay.
func (p Project) Write() error {
	if _, err := p.Name(); err != nil {
		return err
	}
	files, err := p.files()
	if err != nil {
		return err
	}
	if err := makeEmpty(p.Dir); err != nil {
		return err
	}
	for _, f := range files {
		to := filepath.Join(p.Dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // sources are no secret
			return err
		}
		if err := os.WriteFile(to, f.text, 0o644); err != nil { //nolint:gosec // sources are no secret
			return err
		}
	}
	return nil
}

// makeEmpty creates a directory, and refuses an existing one that is not empty.
func makeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s is there already and not empty; name a new directory", dir)
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return os.MkdirAll(dir, 0o755) //nolint:gosec // sources are no secret
	}
	return fmt.Errorf("%s cannot be the project's directory: %w", dir, err)
}

// file is one file of a project; its path is slashed and relative to the project.
type file struct {
	path string
	text []byte
}

// files returns all files of the project, sorted by path.
func (p Project) files() ([]file, error) {
	fill, err := p.placeholders()
	if err != nil {
		return nil, err
	}
	var out []file
	for _, dir := range []string{p.Language, p.Language + "-" + p.Kind} {
		root := path.Join("templates", dir)
		if err := each(templates, root, func(at string, text []byte) {
			at = strings.TrimSuffix(fill.Replace(at), ".tmpl")
			if at == "gitignore" {
				at = ".gitignore"
			}
			out = append(out, file{at, []byte(fill.Replace(string(text)))})
		}); err != nil {
			return nil, err
		}
	}
	if p.Language == "python" {
		if err := each(python.Library, ".", func(at string, text []byte) { out = append(out, file{at, text}) }); err != nil {
			return nil, err
		}
	}
	if p.Command != "" {
		out = append(out, file{"local.mk", []byte("LMQGATE ?= " + strings.NewReplacer("$", "$$", "#", `\#`).Replace(p.Command) + "\n")})
	}
	slices.SortFunc(out, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

// each calls fn for each file below root, with its path relative to root.
func each(from fs.FS, root string, fn func(at string, text []byte)) error {
	return fs.WalkDir(from, root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, at)
		if err == nil {
			fn(strings.TrimPrefix(strings.TrimPrefix(at, root), "/"), text)
		}
		return err
	})
}

// placeholders returns the replacer for the placeholders in templates.
func (p Project) placeholders() (*strings.Replacer, error) {
	name, err := p.Name()
	if err != nil {
		return nil, err
	}
	replace := ""
	if p.Module.Source != "" {
		replace = "\n// This lmqgate was built from sources; a released version needs no such line.\nreplace " + ModulePath + " => " + quoted(p.Module.Source) + "\n"
	}
	return strings.NewReplacer(
		"@NAME@", name,
		"@KIND@", p.Kind,
		"@STEM@", strings.ReplaceAll(name, "-", "_"),
		"@CLASS@", camel(name),
		"@MODULE@", "example.com/"+name,
		"@VERSION@", p.Module.Version,
		"@REPLACE@", replace,
	), nil
}

// camel converts auth-shop to AuthShop.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		r := []rune(word)
		r[0] = unicode.ToUpper(r[0])
		b.WriteString(string(r))
	}
	return b.String()
}

// quoted quotes a path for go.mod if necessary.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\"'`()[]{},") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
