package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is the version of this source if there is no tag. The Makefile reads it, and CHANGELOG.md has a section for it.
const release = "0.1.0"

// Set by the Makefile with -ldflags -X; empty in a plain "go build".
var (
	buildVersion string
	buildCommit  string
)

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  wantArgs(),
		RunE:  func(cmd *cobra.Command, _ []string) error { return printVersion(cmd) },
	}
}

func printVersion(cmd *cobra.Command) error {
	v, commit := version()
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "lmqgate %s commit %s %s %s/%s\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// version returns the version and the commit that this binary was built from, as far as the build recorded them.
func version() (v, commit string) {
	v, commit = buildVersion, buildCommit
	info, ok := debug.ReadBuildInfo()
	// Go calls a build without a tag "(devel)" or v0.0.0 with a date; both say less than release and the commit.
	if ok && v == "" && info.Main.Version != "(devel)" && !strings.HasPrefix(info.Main.Version, "v0.0.0-") {
		v = strings.TrimPrefix(info.Main.Version, "v")
	}
	if ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	if v == "" {
		v = release
	}
	if commit == "" {
		commit = "unknown"
	}
	return v, commit
}
