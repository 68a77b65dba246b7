package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/cmd/lmqgate/scaffold"
)

func newPluginInitCommand() *cobra.Command {
	var language, source string
	cmd := &cobra.Command{
		Use:   "init auth|meta DIR",
		Short: "Write a small plugin to start from",
		Long: "Writes a project into DIR, a new directory whose name becomes the plugin's: a plugin that works as it is, its tests,\n" +
			"a profile for lmqgate plugin test, a configuration to serve it with, and a Makefile. What to do then is printed.\n\n" +
			"A project in Go builds on the released version that this lmqgate is, or, where it was built from sources, on these.",
		Example: "  lmqgate plugin init auth auth-shop\n  lmqgate plugin init meta --lang python meta-shop",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := wantArgs("auth|meta", "DIR")(cmd, args); err != nil {
				return err
			}
			if !slices.Contains(scaffold.Kinds, args[0]) {
				return usagef("%s wants one of %s, not %q", cmd.CommandPath(), strings.Join(scaffold.Kinds, ", "), args[0])
			}
			if !slices.Contains(scaffold.Languages, language) {
				return usagef("--lang wants one of %s, not %q", strings.Join(scaffold.Languages, ", "), language)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p := scaffold.Project{Kind: args[0], Language: language, Dir: args[1]}
			name, err := p.Name()
			if err != nil {
				return err
			}
			if language == "go" {
				v, _ := version()
				if p.Module, err = scaffold.ModuleOf(v, source); err != nil {
					return err
				}
			}
			if p.Command, err = os.Executable(); err != nil {
				return err
			}
			if err := p.Write(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is in %s. Next:\n\n  cd %s\n  make test     # builds it, and runs its tests and the conformance cases\n"+
				"  make serve    # serves a gateway with it, as lmqgate.yaml says\n\nREADME.md says which files are yours to change.\n",
				name, filepath.Clean(args[1]), shellWord(filepath.Clean(args[1])))
			return err
		},
	}
	cmd.Flags().StringVar(&language, "lang", "go", "`LANGUAGE` of the plugin: "+strings.Join(scaffold.Languages, " or "))
	cmd.Flags().StringVar(&source, "source", "", "build on lmqgate's source in `DIR` instead of the released version (Go)")
	return cmd
}
