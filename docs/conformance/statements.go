package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// text is one version of the standard.
type text struct {
	version    string // "3.1.1" or "5.0"
	statements []*statement
	byNumber   map[string]*statement
}

// statement is one numbered statement.
type statement struct {
	number    string // without "MQTT-"
	binds     string // server, client or both
	means     string
	exception string   // why no test proves it
	tests     []string // sorted
}

// bindsServer: it asks something of a server, alone or as of any receiver or sender.
func (s *statement) bindsServer() bool { return s.binds != "client" }

func (s *statement) prove(test string) {
	if i, found := slices.BinarySearch(s.tests, test); !found {
		s.tests = slices.Insert(s.tests, i, test)
	}
}

// loadTexts reads the statements of both texts, and the exceptions.
func loadTexts(dir string) ([]*text, error) {
	var texts []*text
	for _, version := range []string{"3.1.1", "5.0"} {
		t := &text{version: version, byNumber: make(map[string]*statement)}
		err := fields(filepath.Join(dir, "mqtt-"+version+".txt"), 3, func(f []string) error {
			s := &statement{number: f[0], binds: f[1], means: f[2]}
			if !slices.Contains([]string{"server", "client", "both"}, s.binds) {
				return fmt.Errorf("%s binds %q; write server, client or both", s.number, s.binds)
			}
			if t.byNumber[s.number] != nil {
				return fmt.Errorf("%s is there twice", s.number)
			}
			t.statements, t.byNumber[s.number] = append(t.statements, s), s
			return nil
		})
		if err != nil {
			return nil, err
		}
		texts = append(texts, t)
	}
	return texts, fields(filepath.Join(dir, "exceptions.txt"), 3, func(f []string) error {
		s, err := find(texts, f[0], f[1])
		if err == nil {
			s.exception = f[2]
		}
		return err
	})
}

// find returns a statement of a text.
func find(texts []*text, version, number string) (*statement, error) {
	for _, t := range texts {
		if t.version != version {
			continue
		}
		if s := t.byNumber[number]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("MQTT %s has no statement %s; the list is docs/conformance/mqtt-%s.txt", version, number, version)
	}
	return nil, fmt.Errorf("there is no text %q; write 3.1.1 or 5.0", version)
}

// fields calls f with the fields of each line that is no comment.
func fields(file string, count int, f func([]string) error) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, "|", count)
		for i := range parts {
			parts[i] = strings.TrimSpace(parts[i])
		}
		if len(parts) != count || slices.Contains(parts, "") {
			return fmt.Errorf("%s:%d: %d fields with | between them are expected", file, n, count)
		}
		if err := f(parts); err != nil {
			return fmt.Errorf("%s:%d: %w", file, n, err)
		}
	}
	return lines.Err()
}
