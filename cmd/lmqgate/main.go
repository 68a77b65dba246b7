// Command lmqgate is an MQTT gateway on Apache RocketMQ, and the tools around it. Each subcommand has a file of its own; the gateway itself
// starts in serve.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/internal/spelling"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // the command failed
	exitUsage  = 2 // the command line is wrong
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}, os.Environ()))
}

// stdio has the standard streams of a command.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// run executes one command line and returns its exit status. Every error is
// one line on standard error.
func run(ctx context.Context, args []string, std stdio, environ []string) int {
	root := newRoot(std, environ)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(std.err, "lmqgate: "+errorLine(err))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

func newRoot(std stdio, environ []string) *cobra.Command {
	var askedVersion bool
	root := group(&cobra.Command{
		Use:   "lmqgate",
		Short: "An MQTT gateway on Apache RocketMQ",
		Long: "An MQTT gateway on Apache RocketMQ.\n\n" +
			"lmqgate serve --config FILE runs it; conf/standalone.yaml is a FILE that needs nothing else. A package has its FILE in\n" +
			"/etc/lmqgate/lmqgate.yaml. Most commands ask a running gateway, and find it and its token through --config FILE.\n" +
			"lmqgate doctor --config FILE says what is wrong.",
		SilenceErrors: true,
		SilenceUsage:  true,
	})
	help := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if askedVersion {
			return printVersion(cmd)
		}
		return help(cmd, args)
	}
	root.Flags().BoolVar(&askedVersion, "version", false, "print the version")
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelpCommand(root))
	app := &app{environ: environ}
	root.AddCommand(
		newServeCommand(app),
		newConfigCommand(app),
		newReloadCommand(app), newDoctorCommand(app),
		newTopicCommand(app),
		newSessionsCommand(app), newBansCommand(app),
		newClientsCommand(app),
		newSubscriptionsCommand(app),
		newGroupsCommand(app), newBacklogCommand(app), newTraceCommand(app),
		newLimitsCommand(app), newBackupCommand(app),
		newRetainedCommand(app),
		newRecentCommand(app), newLatencyCommand(app),
		newNodesCommand(app),
		newDrainCommand(app), newRebalanceCommand(app),
		newLogLevelCommand(app),
		newCredentialsCommand(app),
		newPubCommand(app),
		newSubCommand(app),
		newBenchCommand(app),
		newPluginCommand(app),
		newMetaCommand(app),
		newVersionCommand(),
	)
	for _, c := range root.Commands() {
		listByDefault(c)
	}
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			group(c).Short = "Print a script with which a shell completes commands and flags"
		}
	}
	return root
}

// app is the state that the commands share.
type app struct {
	environ []string
}

// configFlags are the flags of commands that read a configuration.
type configFlags struct {
	app  *app
	path string
	sets []string
}

func (f *configFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "config", "", "configuration `FILE`")
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "override one key, `KEY=VALUE` with a value in YAML (repeatable)")
}

func (f *configFlags) load() (*config.Config, error) {
	return config.Load(f.path, f.sets, f.app.environ)
}

// given reports whether the command line names a configuration.
func (f *configFlags) given() bool { return f.path != "" || len(f.sets) > 0 }

// usageError is a wrong command line, as opposed to a command that failed.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return usageError{fmt.Sprintf(format, args...)}
}

// group returns a command that only has subcommands. See listByDefault for those that have a list.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return noCommand(cmd, args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.HasParent() {
			return usagef("%s wants a command: %s", cmd.CommandPath(), strings.Join(commandNames(cmd), ", "))
		}
		return cmd.Help()
	}
	return cmd
}

// listByDefault makes a command that has a subcommand named list do what that one does, unless another one is named.
func listByDefault(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		if c.Name() == "list" {
			cmd.Flags().AddFlagSet(c.Flags())
			cmd.RunE = c.RunE
		}
	}
}

// noCommand is the error about a word that is no subcommand.
func noCommand(cmd *cobra.Command, word string) error {
	path := cmd.CommandPath()
	return usagef("%s has no command %q%s; see %s --help", path, word, didYouMean("", word, commandNames(cmd)), path)
}

// flagError is the error about a flag that is unknown or has a wrong value.
func flagError(cmd *cobra.Command, err error) error {
	if words := cmd.Flags().Args(); len(words) > 0 && cmd.HasAvailableSubCommands() {
		return noCommand(cmd, words[0]) // the flags are those of the command that was meant
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return usagef("--%s %s, not %q; see %s --help", invalid.GetFlag().Name, wantedValue(invalid), invalid.GetValue(), cmd.CommandPath())
	}
	return usagef("%s%s; see %s --help", err, suggestFlag(cmd, err), cmd.CommandPath())
}

// wantedValue says what value a flag wants.
func wantedValue(err *pflag.InvalidValueError) string {
	if errors.Is(err, strconv.ErrRange) {
		return "wants a smaller number"
	}
	switch err.GetFlag().Value.Type() {
	case "int":
		return "wants a whole number"
	case "duration":
		return "wants a time such as 500ms, 30s or 2h"
	case "bool":
		return "wants true or false"
	case "float64":
		return "wants a number"
	}
	return "cannot be read (" + err.Unwrap().Error() + ")"
}

// oneOf checks a word that the command line gives against those that there are. what names its flag or argument.
func oneOf(what, word string, words ...string) error {
	if slices.Contains(words, word) {
		return nil
	}
	last := len(words) - 1
	return usagef("%s wants %s or %s, not %q", what, strings.Join(words[:last], ", "), words[last], word)
}

// newHelpCommand returns the help command, which unlike cobra's fails where there is no such command.
func newHelpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd := root
			for _, word := range args {
				i := slices.IndexFunc(cmd.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
				if i < 0 {
					return noCommand(cmd, word)
				}
				cmd = cmd.Commands()[i]
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	}
}

// didYouMean returns a suggestion for the end of an error about an unknown word, or "". prefix is what users write before each word.
func didYouMean(prefix, word string, words []string) string {
	if meant := spelling.Nearest(word, words); meant != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, meant)
	}
	return ""
}

// suggestFlag returns a suggestion for the end of an error about an unknown flag, or "".
func suggestFlag(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	word := unknown.GetSpecifiedName()
	if letters := unknown.GetSpecifiedShortnames(); letters != "" {
		if word = letters; len(letters) < 3 || !slices.Contains(names, word) { // -config
			return ""
		}
	}
	if meant := didYouMean("--", word, names); meant != "" || word != "config" {
		return meant
	}
	switch _, arg, _ := strings.Cut(cmd.Use, " "); {
	case cmd.HasParent() && arg == "FILE":
		return fmt.Sprintf("; did you mean %s FILE?", cmd.CommandPath())
	case !cmd.HasParent():
		return "; did you mean lmqgate serve --config?"
	}
	return ""
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return names
}

// wantArgs requires exactly the named arguments.
func wantArgs(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("%s wants %s; see %s --help", cmd.CommandPath(), strings.Join(names[len(args):], " "), cmd.CommandPath())
		case len(args) > len(names):
			more := args[len(names)]
			if ext := filepath.Ext(more); (ext == ".yaml" || ext == ".yml") && cmd.Flags().Lookup("config") != nil {
				return usagef("%s does not know what to do with %q; did you mean --config %s?", cmd.CommandPath(), more, shellWord(more))
			}
			return usagef("%s does not know what to do with %q; see %s --help", cmd.CommandPath(), more, cmd.CommandPath())
		}
		return nil
	}
}

// errorLine formats an error as one line. For a configuration with several problems, it has the first and the number of the others.
func errorLine(err error) string {
	if wrong, ok := errors.AsType[*config.Error](err); ok {
		return wrong.Summary()
	}
	return oneLine(err.Error())
}
