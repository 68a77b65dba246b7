package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// pages are README.md and what is in this directory.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.md")
	require.NoError(t, err)
	out := make(map[string]string)
	for _, f := range append(files, "../README.md") {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		out[f] = string(text)
	}
	return out
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadToFilesAndHeadings(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, heading, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			info, err := os.Stat(target)
			require.NoError(t, err, "%s links to %s", page, m[1])
			if heading == "" || info.IsDir() {
				continue
			}
			linked, err := os.ReadFile(target)
			require.NoError(t, err)
			require.Contains(t, anchors(string(linked)), heading, "%s links to %s", page, m[1])
		}
	}
}

var notInAnchors = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// anchors are the names that headings are linked by.
func anchors(text string) []string {
	var out []string
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if title := strings.TrimLeft(line, "#"); !fenced && title != line {
			title = notInAnchors.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), "")
			out = append(out, strings.ReplaceAll(title, " ", "-"))
		}
	}
	return out
}

var (
	namedTest  = regexp.MustCompile("`(Test[A-Z0-9]\\w*)`")
	testHeader = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
)

func TestTestsThatPagesNameExist(t *testing.T) {
	there := make(map[string]bool)
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range testHeader.FindAllStringSubmatch(string(text), -1) {
			there[m[1]] = true
		}
		return err
	}))
	for page, text := range pages(t) {
		for _, m := range namedTest.FindAllStringSubmatch(text, -1) {
			require.True(t, there[m[1]], "%s names %s, which is not there", page, m[1])
		}
	}
}

var goBlock = regexp.MustCompile("(?s)```go\n(.*?)```")

// TestGoCodeOnThePagesIsThatOfTheExamples: the examples are compiled, and run by test/e2e.
func TestGoCodeOnThePagesIsThatOfTheExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*/main.go")
	require.NoError(t, err)
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		all.Write(text)
	}
	for page, text := range pages(t) {
		for _, m := range goBlock.FindAllStringSubmatch(text, -1) {
			for part := range strings.SplitSeq(m[1], "\n// ...\n") {
				require.Contains(t, all.String(), strings.TrimSpace(part), page)
			}
		}
	}
}

// TestProseHasOneWidth allows 140 columns, as for code. Tables, code, links and pictures of their own are not prose.
func TestProseHasOneWidth(t *testing.T) {
	require.NoError(t, filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		fenced, n := false, 0
		for line := range strings.Lines(string(text)) {
			n++
			start := strings.TrimLeft(line, " ")
			if strings.HasPrefix(start, "```") {
				fenced = !fenced
			}
			if fenced || strings.HasPrefix(line, "    ") || strings.IndexAny(start, "|<[!") == 0 {
				continue
			}
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimRight(line, "\n")), 140, "%s:%d", path, n)
		}
		return err
	}))
}
