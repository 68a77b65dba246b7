package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../.."

func TestTheConformancePageIsInStepWithTheTests(t *testing.T) {
	want, err := build(root)
	require.NoError(t, err)
	got, err := os.ReadFile(filepath.Join(root, "docs", "conformance.md"))
	require.NoError(t, err)
	require.True(t, string(want) == string(got), "docs/conformance.md is out of step with the tests; run make conformance")
}

func TestNinetyFivePercentOfWhatBindsAServerIsProven(t *testing.T) {
	texts, err := loadTexts(filepath.Join(root, "docs", "conformance"))
	require.NoError(t, err)
	require.NoError(t, scan(root, texts))
	for i, all := range []int{141, 251} { // as many as the texts number
		c := texts[i].count()
		require.Equal(t, all, c.all, "statements of MQTT %s", texts[i].version)
		require.GreaterOrEqual(t, c.percent(), 95.0, "MQTT %s", texts[i].version)
	}
}

func TestATestThatNamesAStatementWronglyIsTold(t *testing.T) {
	for comment, want := range map[string]string{
		"Proves 5.0: [MQTT-3.1.2-24]":                       "",
		"Proves 3.1.1: [MQTT-3.1.2-24] [MQTT-4.1.0-1]":      "",
		"Proves: [MQTT-3.1.2-24]":                           "x_test.go:3:1: write",
		"Proves [MQTT-3.1.2-24]":                            "x_test.go:3:1: write",
		"Proves 5.0: [MQTT-3.1.2-24] (the size)":            "x_test.go:3:1: write",
		"Proves 3.1: [MQTT-3.1.2-24]":                       "x_test.go:3:1: write",
		"Proves 3.1.1: [MQTT-3.1.2-24] 5.0: [MQTT-3.1.2-2]": "x_test.go:3:1: write",
		"Proves 5.0: [MQTT-3.15.0-1]":                       "x_test.go:3:1: MQTT 5.0 has no statement 3.15.0-1",
		"Proves 3.1.1: [MQTT-3.1.2-29]":                     "x_test.go:3:1: MQTT 3.1.1 has no statement 3.1.2-29",
	} {
		for code, belongs := range map[string]bool{"func TestX() {}": true, "func x() {}": false, "\nfunc TestX() {}": false} {
			if want != "" && !belongs {
				continue
			}
			texts, err := loadTexts(".")
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "x_test.go"), []byte("package x\n\n// "+comment+"\n"+code+"\n"), 0o600))
			err = scan(dir, texts)
			switch {
			case want != "":
				require.ErrorContains(t, err, want, comment)
			case belongs:
				require.NoError(t, err, comment)
				version, _, _ := strings.Cut(strings.Fields(comment)[1], ":")
				s, err := find(texts, version, "3.1.2-24")
				require.NoError(t, err)
				require.Contains(t, s.tests, "TestX")
			default:
				require.ErrorContains(t, err, "belongs to no test", comment)
			}
		}
	}
}

func TestWhatIsNeitherProvenNorExplainedIsTold(t *testing.T) {
	dir := t.TempDir()
	require.NoError(
		t,
		os.WriteFile(filepath.Join(dir, "page.md"), []byte("{{counts}}\n{{exceptions}}\n{{suites}}\n{{3.1.1}}\n{{5.0}}\n"), 0o600),
	)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "suites.md"), []byte("none\n"), 0o600))
	s := &statement{number: "1.2.3-4", binds: "both", means: "a | b"}
	texts := []*text{
		{version: "3.1.1", statements: []*statement{s}},
		{version: "5.0", statements: []*statement{{number: "1", binds: "server", tests: []string{"TestA"}}}},
	}
	_, err := render(dir, texts)
	require.ErrorContains(t, err, "MQTT 3.1.1, 1.2.3-4 (a | b): no test proves it")
	s.exception = "because"
	page, err := render(dir, texts)
	require.NoError(t, err)
	require.Contains(t, string(page), "| 3.1.1 | 1.2.3-4 | a \\| b | because |\n")
	require.Contains(t, string(page), "| MQTT 3.1.1 | 1 | 1 | 0 | 0.0% | 0 | 0 |\n")
	s.prove("TestB")
	s.prove("TestA")
	s.prove("TestB")
	require.Equal(t, []string{"TestA", "TestB"}, s.tests)
	_, err = render(dir, texts)
	require.ErrorContains(t, err, "TestA proves it")
}
