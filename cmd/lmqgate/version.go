package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

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
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, commit := version()
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lmqgate %s commit %s %s %s/%s\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// version returns the module version and the commit that this binary was built
// from, as far as the build recorded them.
func version() (v, commit string) {
	v, commit = buildVersion, buildCommit
	info, ok := debug.ReadBuildInfo()
	if ok && v == "" {
		v = info.Main.Version
	}
	if ok && commit == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value[:min(len(s.Value), 12)]
			}
		}
	}
	if v == "" {
		v = "(devel)"
	}
	if commit == "" {
		commit = "unknown"
	}
	return v, commit
}
