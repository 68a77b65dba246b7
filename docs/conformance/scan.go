package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/lmqgate/lmqgate/core/packet/packettest"
)

// sender is the test that sends the packets of packettest to a listener.
const sender = "TestWhatTheTextsForbidEndsItsConnectionWithItsCode"

var (
	proof  = regexp.MustCompile(`^Proves (3\.1\.1|5\.0):((?: \[MQTT-\d[\d.]*-\d+\])+)$`)
	number = regexp.MustCompile(`\[MQTT-([^\]]+)\]`)
)

// scan notes at each statement the tests that prove it.
func scan(root string, texts []*text) error {
	for _, r := range packettest.Refusals {
		if r.From == packettest.FromServer {
			continue
		}
		version := "3.1.1"
		if r.Version == packettest.V5 {
			version = "5.0"
		}
		for number := range strings.FieldsSeq(r.Statements) {
			s, err := find(texts, version, number)
			if err != nil {
				return fmt.Errorf("packettest, %q: %w", r.Name, err)
			}
			s.prove(sender)
		}
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		return scanFile(path, texts)
	})
}

// scanFile reads the doc comments of one file's tests.
func scanFile(path string, texts []*text) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	of := make(map[*ast.CommentGroup]string)
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Doc != nil && strings.HasPrefix(fn.Name.Name, "Test") {
			of[fn.Doc] = fn.Name.Name
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			line := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
			if !strings.HasPrefix(line, "Proves") || !strings.Contains(line, "[MQTT-") {
				continue
			}
			at := files.Position(c.Pos())
			m := proof.FindStringSubmatch(line)
			if m == nil {
				return fmt.Errorf("%s: write \"Proves 3.1.1: [MQTT-...] ...\" or \"Proves 5.0: [MQTT-...] ...\", a line for each text", at)
			}
			test := of[group]
			if test == "" {
				return fmt.Errorf("%s: this comment belongs to no test", at)
			}
			for _, n := range number.FindAllStringSubmatch(m[2], -1) {
				s, err := find(texts, m[1], n[1])
				if err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
				s.prove(test)
			}
		}
	}
	return nil
}
