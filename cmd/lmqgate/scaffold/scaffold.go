// Package scaffold writes the projects of `lmqgate plugin init`: small plugins in Go and Python that build, pass their own
// tests and lmqgate's conformance cases, and serve a gateway as they are.
//
// A project is a few templates: those of its language, and those of its language and kind. A template's placeholders are
// @NAME@ and the like; see Project.placeholders. Projects in Python get a copy of plugins/python, which is theirs from then
// on. Nothing is written outside of the project's directory, and nothing that is there is changed.
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

// Kinds and Languages are what there are templates for.
var (
	Kinds     = []string{"auth", "meta"}
	Languages = []string{"go", "python"}
)

// Project is what is to be written.
type Project struct {
	// Kind and Language are of Kinds and Languages.
	Kind, Language string
	// Dir is made unless it is there and empty. Its last element is the plugin's name.
	Dir string
	// Module is the version of lmqgate's Go module that the project builds on, and where its source is.
	Module Module
	// Command is the lmqgate that the project's Makefile calls, an absolute path; empty for the one on the PATH.
	Command string
}

// name is the form of plugins' names: they are file names, and parts of module paths.
var name = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Name is the plugin's name, or an error where Dir gives none that can be used.
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

// Write writes the project. An error is one line; what was written before it stays.
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

// makeEmpty makes a directory, and refuses one that holds something.
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

// files are all files of the project, by path.
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

// each calls fn for each file below root, with its path from there.
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

// placeholders fills the templates.
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

// camel writes auth-shop as AuthShop.
func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		r := []rune(word)
		r[0] = unicode.ToUpper(r[0])
		b.WriteString(string(r))
	}
	return b.String()
}

// quoted writes a path as go.mod wants it.
func quoted(s string) string {
	if strings.ContainsAny(s, " \t\"'`()[]{},") {
		return fmt.Sprintf("%q", s)
	}
	return s
}
