package deploy

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheReleasesArchiveHasTheRepositorysFilesOnly(t *testing.T) {
	archive := released(t, "lmqgate_*_linux_"+runtime.GOARCH+".tar.gz")
	git := exec.CommandContext(t.Context(), "git", "ls-files", "LICENSE", "README.md", "CHANGELOG.md", "conf", "docs")
	git.Dir = ".."
	out, err := git.Output()
	if err != nil {
		t.Skipf("this is no clone: %v", err)
	}
	f, err := os.Open(archive)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	var found []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		_, name, _ := strings.Cut(h.Name, "/")
		if h.Typeflag == tar.TypeReg && name != "lmqgate" && !strings.HasPrefix(name, "plugins/") {
			require.Zero(t, h.Mode&0o022, name)
			found = append(found, name)
		}
	}
	slices.Sort(found)
	want := strings.Fields(string(out))
	slices.Sort(want)
	require.Equal(t, want, found)
}
