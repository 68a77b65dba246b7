package config

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

//go:generate go test -run TestTheDocumentDescribesEveryKey -update .

var update = flag.Bool("update", false, "write the generated part of docs/configuration.md")

const (
	document       = "../../docs/configuration.md"
	generatedBegin = "<!-- Generated from core/config/config.go by `go generate ./core/config`. -->\n"
	generatedEnd   = "<!-- End of the generated part. -->\n"
)

// TestTheDocumentDescribesEveryKey keeps docs/configuration.md in step with the
// structs: key, type and default by reflection, meaning from the comments.
func TestTheDocumentDescribesEveryKey(t *testing.T) {
	data, err := os.ReadFile(document)
	require.NoError(t, err)
	head, rest, ok := strings.Cut(string(data), generatedBegin)
	require.True(t, ok, "the document lost the line that begins the generated part")
	_, tail, ok := strings.Cut(rest, generatedEnd)
	require.True(t, ok, "the document lost the line that ends the generated part")

	reference, err := Reference()
	require.NoError(t, err)
	want := head + generatedBegin + reference + generatedEnd + tail
	if *update {
		require.NoError(t, os.WriteFile(document, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(data), "run: go generate ./core/config")
}
