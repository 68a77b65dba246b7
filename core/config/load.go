package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
	goyaml "go.yaml.in/yaml/v3"
)

// EnvPrefix begins the name of every environment variable that Load reads.
const EnvPrefix = "LMQGATE_"

// maxFile bounds a configuration file, in bytes.
const maxFile = 8 << 20

// Load reads the configuration: defaults, then the YAML file at path (none
// when path is empty), then the LMQGATE_ variables of environ (in the form of
// os.Environ), then sets, each "key=value" with a value in YAML. Relative paths
// are made absolute against the file's directory, and the result is validated.
//
// Errors in the configuration are returned as an *Error with all problems; any other error means that the file could not be read.
func Load(path string, sets []string, environ []string) (*Config, error) {
	var data []byte
	if path != "" {
		var err error
		if data, err = readFile(path); err != nil {
			return nil, err
		}
	}
	return parse(path, data, sets, environ)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("configuration file: %w; give the path of one, such as conf/standalone.yaml", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("configuration file: %w; run this as the user of the gateway, or as root", err)
	case err != nil:
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration file %s has more than %s: is it the right file?", path, Size(maxFile))
	}
	return data, nil
}

// parse is Load without reading the file.
func parse(path string, data []byte, sets, environ []string) (*Config, error) {
	in := newLayers(path)
	in.addFile(data)
	in.addEnviron(environ)
	in.addSets(sets)
	if len(in.problems.list) > 0 {
		return nil, in.problems.err()
	}

	merged, _ := plain(in.koanf.Raw()).(map[string]any)
	c := Default()
	c.sources, c.secretKeys = in.sources, in.secretKeys
	decoder{&in.problems}.decode("", merged, reflect.ValueOf(c).Elem())
	c.applyDerived(func(key string) bool { return isSet(merged, strings.Split(key, ".")) })
	c.validate(&in.problems)
	if err := c.resolvePaths(path); err != nil {
		return nil, err
	}
	c.checkFiles(&in.problems)
	if err := in.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func isSet(m map[string]any, path []string) bool {
	for i, name := range path {
		v, ok := m[name]
		if !ok || v == nil {
			return false
		}
		if i == len(path)-1 {
			return true
		}
		if m, ok = v.(map[string]any); !ok {
			return false
		}
	}
	return false
}

// layers merges the sources and remembers which key came from where.
type layers struct {
	path     string
	koanf    *koanf.Koanf
	sources  []map[string]string // key -> where, later sources win
	problems problems
	// secretKeys are the keys of secrets in the file.
	secretKeys []string
}

// noDelimiter keeps koanf from splitting keys: this package splits them itself,
// because names inside a plugin's block may hold dots.
const noDelimiter = "\x00"

func newLayers(path string) *layers {
	l := &layers{path: path, koanf: koanf.New(noDelimiter)}
	l.problems.where = l.where
	return l
}

func (l *layers) where(key string) string { return where(l.sources, l.path, key) }

// Where returns the source of a key, such as "FILE:LINE" or "--set". For a key that was not given, it returns the source of the nearest
// enclosing section; "" for a default.
func (c *Config) Where(key string) string { return where(c.sources, c.Path, key) }

// Given reports whether this very key was given.
func (c *Config) Given(key string) bool {
	for _, source := range c.sources {
		if _, ok := source[key]; ok {
			return true
		}
	}
	return false
}

func where(sources []map[string]string, path, key string) string {
	for ; key != ""; key = parent(key) {
		for _, source := range slices.Backward(sources) {
			if at, ok := source[key]; ok {
				return at
			}
		}
	}
	return path
}

func (l *layers) addFile(data []byte) {
	at := make(map[string]string)
	l.sources = append(l.sources, at)
	if len(data) == 0 {
		return
	}
	if err := l.indexLines(data, at); err != nil {
		l.problems.add("", "%s", yamlProblem(err))
		return
	}
	if err := l.koanf.Load(rawbytes.Provider(data), yaml.Parser()); err != nil {
		l.problems.add("", "%s", yamlProblem(err))
	}
}

// yamlProblem says what the parser does not understand. For the first line it gives no number.
func yamlProblem(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(text, "unmarshal errors:"); ok {
		text = strings.TrimSpace(rest)
	}
	if !strings.HasPrefix(text, "line ") {
		text = "line 1: " + text
	}
	switch {
	case strings.Contains(text, "cannot start any token"):
		text += "; YAML is indented by spaces, not by tabs, and a text that begins with a special character wants quotes"
	case strings.Contains(text, "did not find expected"):
		text += "; look there and on the next line for a missing bracket, quote, colon or indentation"
	}
	return text
}

// indexLines records the line of each key, and refuses files that hold anything but one map.
func (l *layers) indexLines(data []byte, at map[string]string) error {
	decoder := goyaml.NewDecoder(strings.NewReader(string(data)))
	var doc, next goyaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil // only comments
		}
		return err
	}
	if err := decoder.Decode(&next); err == nil {
		return fmt.Errorf("line %d: a second document begins; a configuration file holds one", next.Line)
	}
	if len(doc.Content) == 1 {
		root := doc.Content[0]
		if root.Kind != goyaml.MappingNode && root.Tag != "!!null" {
			return fmt.Errorf("line %d: the file wants keys and values, such as \"node:\"", root.Line)
		}
		l.indexNode("", root, at)
	}
	return nil
}

// indexNode does not follow aliases, so its work is bounded by the file's size.
func (l *layers) indexNode(key string, n *goyaml.Node, at map[string]string) {
	switch n.Kind {
	case goyaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := join(key, n.Content[i].Value)
			at[k] = l.path + ":" + strconv.Itoa(n.Content[i].Line)
			l.indexNode(k, n.Content[i+1], at)
		}
	case goyaml.SequenceNode:
		for i, item := range n.Content {
			k := key + "[" + strconv.Itoa(i) + "]"
			at[k] = l.path + ":" + strconv.Itoa(item.Line)
			l.indexNode(k, item, at)
		}
	case goyaml.ScalarNode:
		if n.Tag != "!!null" && isSecret(key, n.Value) {
			l.secretKeys = append(l.secretKeys, key)
		}
	}
}

// addEnviron reads LMQGATE_A__B=value as a.b. A name without "__" is a whole section, a mistake, or unrelated: see ignored.
func (l *layers) addEnviron(environ []string) {
	at := make(map[string]string)
	l.sources = append(l.sources, at)
	provider := env.Provider("", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			path := strings.Split(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "__")
			if len(path) == 1 && typeAt(path) == nil {
				if short := strings.TrimPrefix(name, EnvPrefix); !ignored(short) {
					l.problems.list = append(l.problems.list, Problem{Where: name, Message: misnamed(short)})
				}
				return "", nil
			}
			v, err := environValue(path, value)
			if err != nil {
				l.problems.list = append(l.problems.list, Problem{Where: name, Key: strings.Join(path, "."), Message: err.Error()})
				return "", nil
			}
			note(at, strings.Join(path, "."), name)
			return strings.Join(path, noDelimiter), v
		},
	})
	values, err := provider.Read()
	if err != nil {
		l.problems.add("", "environment: %s", err)
		return
	}
	for _, key := range sortedKeys(values) {
		l.merge(strings.Split(key, noDelimiter), values[key])
	}
}

// environValue parses a variable's text as the type of its key.
func environValue(path []string, text string) (any, error) {
	t := typeAt(path)
	if t == nil || t == pluginConfigType {
		// Inside a plugin's block, or unknown: parse JSON if it is valid, otherwise keep the text.
		var v any
		if json.Unmarshal([]byte(text), &v) == nil {
			return v, nil
		}
		return text, nil
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Struct:
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			return nil, errors.New(`wants JSON, such as ["a","b"] for a list`)
		}
		return v, nil
	case reflect.Bool:
		if b, err := strconv.ParseBool(text); err == nil {
			return b, nil
		}
	case reflect.Int:
		if n, err := strconv.Atoi(text); err == nil {
			return n, nil
		}
	}
	return text, nil
}

func (l *layers) addSets(sets []string) {
	at := make(map[string]string)
	l.sources = append(l.sources, at)
	for _, set := range sets {
		key, text, ok := strings.Cut(set, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			l.problems.list = append(l.problems.list, Problem{
				Where:   "--set " + quote(key),
				Message: "wants key=value, such as log.level=debug",
			})
			continue
		}
		path := strings.Split(key, ".")
		var v any
		if err := goyaml.Unmarshal([]byte(text), &v); err != nil {
			l.problems.list = append(l.problems.list, Problem{
				Where: "--set", Key: key, Message: "the value is not YAML; put it in quotes",
			})
			continue
		}
		// A text may look like a number: --set node.id=1 means "1".
		if t := typeAt(path); t != nil && t.Kind() == reflect.String {
			switch v.(type) {
			case string, map[string]any, map[any]any, []any:
			default:
				v = text
			}
		}
		note(at, key, "--set")
		l.merge(path, v)
	}
}

// note records the source of a key and of the sections that it made.
func note(at map[string]string, key, source string) {
	for ; key != ""; key = parent(key) {
		at[key] = source
	}
}

func (l *layers) merge(path []string, v any) {
	for _, name := range slices.Backward(path) {
		v = map[string]any{name: v}
	}
	m, _ := v.(map[string]any)
	if err := l.koanf.Load(confmap.Provider(m, ""), nil); err != nil {
		l.problems.add(strings.Join(path, "."), "%s", err)
	}
}

var indexPattern = regexp.MustCompile(`\[\d+\]`)

// generic converts "listeners[3].type" to the form in the schema: "listeners[].type".
func generic(key string) string { return indexPattern.ReplaceAllString(key, "[]") }
