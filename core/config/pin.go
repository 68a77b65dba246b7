package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	goyaml "go.yaml.in/yaml/v3"
)

// Pin writes checksums into plugins.checksums of a configuration file, each "sha256:HEX" by the name of its plugin, and preserves
// everything else: comments, order, layout. It reports whether the file had to be changed. If it cannot do that safely, the error says what
// to write by hand.
func Pin(path string, sums map[string]string) (changed bool, err error) {
	data, err := readFile(path)
	if err != nil {
		return false, err
	}
	text := string(data)
	for _, name := range sortedKeys(sums) {
		if text, err = pinOne(text, name, sums[name]); err != nil {
			return false, fmt.Errorf("%s: %w; write it by hand: plugins: {checksums: {%s: %q}}", path, err, name, sums[name])
		}
	}
	if text == string(data) {
		return false, nil
	}
	return true, replaceFile(path, []byte(text))
}

// replaceFile replaces the content of a file atomically. A symbolic link stays one.
func replaceFile(path string, data []byte) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(target)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(target), ".lmqgate-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // by then it was renamed, or is useless
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), target)
}

// pinOne pins one plugin in the text of a configuration file.
func pinOne(text, name, sum string) (string, error) {
	before, err := decodeText(text)
	if err != nil {
		return "", err
	}
	if have, _ := lookup(before, "plugins", "checksums", name); have == sum {
		return text, nil
	}
	var doc goyaml.Node
	if err := goyaml.Unmarshal([]byte(text), &doc); err != nil {
		return "", err
	}
	e := &edit{text: text, newline: "\n"}
	if strings.Contains(text, "\r\n") {
		e.newline = "\r\n"
	}
	if err := e.pin(&doc, name, sum); err != nil {
		return "", err
	}
	// Verify that nothing else was changed.
	after, err := decodeText(e.text)
	if err != nil {
		return "", fmt.Errorf("its layout is unusual")
	}
	set(before, name, sum)
	if !reflect.DeepEqual(before, after) {
		return "", fmt.Errorf("its layout is unusual")
	}
	return e.text, nil
}

func decodeText(text string) (map[string]any, error) {
	out := map[string]any{}
	if err := goyaml.Unmarshal([]byte(text), &out); err != nil {
		return nil, err
	}
	if out == nil {
		out = map[string]any{}
	}
	return out, nil
}

func lookup(m map[string]any, path ...string) (any, bool) {
	for i, name := range path {
		v, ok := m[name]
		if !ok || i == len(path)-1 {
			return v, ok
		}
		if m, ok = v.(map[string]any); !ok {
			return nil, false
		}
	}
	return nil, false
}

// set adds a checksum to a decoded file: the expected result of an edit.
func set(m map[string]any, name, sum string) {
	for _, section := range []string{"plugins", "checksums"} {
		next, ok := m[section].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[section] = next
		}
		m = next
	}
	m[name] = sum
}

// edit changes the text of a file at the positions of its YAML nodes.
type edit struct {
	text    string
	newline string
}

var errShape = errors.New("plugins.checksums is written in a way that cannot be changed safely")

// pin finds the innermost existing part of plugins.checksums.NAME, and writes the rest.
func (e *edit) pin(doc *goyaml.Node, name, sum string) error {
	value := `"` + sum + `"`
	if len(doc.Content) == 0 || doc.Content[0].Kind == goyaml.ScalarNode && doc.Content[0].Tag == "!!null" {
		e.appendSection(name, value)
		return nil
	}
	root := doc.Content[0]
	plugins, ok := child(root, "plugins")
	switch {
	case !ok && root.Style&goyaml.FlowStyle != 0:
		return e.insertFlow(root, `"plugins": {"checksums": {"`+name+`": `+value+`}}`)
	case !ok && root.Kind == goyaml.MappingNode:
		if root.Column != 1 {
			return errShape
		}
		e.appendSection(name, value)
		return nil
	case !ok || plugins.value.Kind != goyaml.MappingNode || plugins.value.Anchor != "":
		return errShape
	}
	sums, ok := child(plugins.value, "checksums")
	switch {
	case !ok && plugins.value.Style&goyaml.FlowStyle != 0:
		return e.insertFlow(plugins.value, `checksums: {"`+name+`": `+value+`}`)
	case !ok:
		indent := strings.Repeat(" ", plugins.value.Column-1)
		e.insertLines(plugins.key.Line, indent+"checksums:", indent+"  "+name+": "+value)
		return nil
	case sums.value.Kind != goyaml.MappingNode || sums.value.Anchor != "":
		return errShape
	}
	have, ok := child(sums.value, name)
	switch {
	case ok:
		return e.replaceScalar(have.value, value)
	case sums.value.Style&goyaml.FlowStyle != 0:
		return e.insertFlow(sums.value, `"`+name+`": `+value)
	default:
		e.insertLines(sums.key.Line, strings.Repeat(" ", sums.value.Column-1)+name+": "+value)
		return nil
	}
}

// entry is a key of a map with its value.
type entry struct{ key, value *goyaml.Node }

func child(m *goyaml.Node, name string) (entry, bool) {
	if m.Kind != goyaml.MappingNode {
		return entry{}, false
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return entry{m.Content[i], m.Content[i+1]}, true
		}
	}
	return entry{}, false
}

// appendSection appends the whole section to the file.
func (e *edit) appendSection(name, value string) {
	if e.text != "" && !strings.HasSuffix(e.text, "\n") {
		e.text += e.newline
	}
	e.text += strings.Join([]string{"plugins:", "  checksums:", "    " + name + ": " + value, ""}, e.newline)
}

// insertLines inserts lines after a line; lines are counted from 1.
func (e *edit) insertLines(behind int, lines ...string) {
	at := e.offset(behind+1, 1)
	insert := strings.Join(lines, e.newline) + e.newline
	if at > 0 && e.text[at-1] != '\n' { // the file's last line
		insert = e.newline + strings.TrimSuffix(insert, e.newline)
	}
	e.text = e.text[:at] + insert + e.text[at:]
}

// offset returns the byte offset of a line and a column; both count from 1, the column in characters.
func (e *edit) offset(line, column int) int {
	at := 0
	for range line - 1 {
		i := strings.IndexByte(e.text[at:], '\n')
		if i < 0 {
			return len(e.text)
		}
		at += i + 1
	}
	for range column - 1 {
		if at >= len(e.text) {
			break
		}
		_, size := utf8.DecodeRuneInString(e.text[at:])
		at += size
	}
	return at
}

// insertFlow inserts an entry at the end of a map in braces.
func (e *edit) insertFlow(m *goyaml.Node, insert string) error {
	start := e.offset(m.Line, m.Column)
	end, comma, ok := closing(e.text, start)
	if !ok {
		return errShape
	}
	if len(m.Content) > 0 && !comma {
		insert = ", " + insert
	}
	e.text = e.text[:end] + insert + e.text[end:]
	return nil
}

// closing finds the brace that closes the one at start, skipping quoted texts and comments. comma says whether a comma precedes it.
func closing(text string, start int) (end int, comma, ok bool) {
	if start >= len(text) || text[start] != '{' {
		return 0, false, false
	}
	depth := 0
	for i := start; i < len(text); i++ {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i, comma, true
			}
		case '"', '\'':
			for i++; i < len(text) && text[i] != c; i++ {
				if c == '"' && text[i] == '\\' {
					i++
				}
			}
		case '#':
			if text[i-1] != ' ' && text[i-1] != '\t' && text[i-1] != '\n' {
				break // it is part of a word
			}
			n := strings.IndexByte(text[i:], '\n')
			if n < 0 {
				return 0, false, false
			}
			i += n
			continue
		}
		comma = i < len(text) && text[i] == ','
	}
	return 0, false, false
}

// replaceScalar replaces a scalar value that is on one line.
func (e *edit) replaceScalar(n *goyaml.Node, value string) error {
	if n.Kind != goyaml.ScalarNode || n.Anchor != "" || n.Style&(goyaml.LiteralStyle|goyaml.FoldedStyle|goyaml.TaggedStyle) != 0 {
		return errShape
	}
	at := e.offset(n.Line, n.Column)
	length := len(n.Value)
	if n.Style&(goyaml.DoubleQuotedStyle|goyaml.SingleQuotedStyle) != 0 {
		length += 2
	}
	if n.Value == "" && length == 0 || at+length > len(e.text) || !strings.Contains(e.text[at:at+length], n.Value) {
		return errShape
	}
	e.text = e.text[:at] + value + e.text[at+length:]
	return nil
}
