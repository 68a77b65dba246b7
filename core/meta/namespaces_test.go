package meta

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmqgate/lmqgate/core/meta/migration"
)

// TestEveryNamespaceIsMovedOrKnownToStay fails for a new namespace that exports and migrations would leave behind.
func TestEveryNamespaceIsMovedOrKnownToStay(t *testing.T) {
	known := map[string]bool{NamespaceNodes: false, NamespaceChanges: false, migration.Namespace: false}
	for _, ns := range Moved() {
		known[ns] = true
	}
	files, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range files {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if text, err := strconv.Unquote(lit.Value); err == nil && strings.HasPrefix(text, "lmqgate.") {
					require.Contains(t, known, text, "add it to Moved, or here to those that stay")
				}
			}
			return true
		})
	}
	require.Len(t, Moved(), 8)
}
