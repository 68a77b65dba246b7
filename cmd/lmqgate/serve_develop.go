package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/gateway"
)

// developFlags are the flags of serve with which an author tries a plugin.
type developFlags struct{ executables, attach []string }

func (f *developFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.executables, "dev-plugin", nil,
		"for authors: run the executable `KIND=PATH`, KIND auth or meta, without checks (repeatable)")
	cmd.Flags().StringArrayVar(&f.attach, "attach-plugin", nil,
		"for authors: use a plugin that was started with --debug, `KIND=ADDRESS` as it prints it (repeatable)")
}

// parse parses the flags. An executable's name also replaces the plugin's name in the configuration; the executable gets that plugin's
// block.
func (f *developFlags) parse(conf *configFlags) (gateway.Develop, error) {
	d := gateway.Develop{Executables: map[string]string{}, Attach: map[string]string{}}
	read := func(flag string, list []string, into map[string]string) error {
		for _, text := range list {
			kind, value, ok := strings.Cut(text, "=")
			if !ok || value == "" || kind != "auth" && kind != "meta" {
				return usagef("--%s wants auth=... or meta=..., not %q", flag, text)
			}
			if d.Executables[kind] != "" || d.Attach[kind] != "" {
				return usagef("--%s: there is one %s plugin", flag, kind)
			}
			into[kind] = value
		}
		return nil
	}
	if err := errors.Join(read("dev-plugin", f.executables, d.Executables), read("attach-plugin", f.attach, d.Attach)); err != nil {
		return d, err
	}
	for _, kind := range slices.Sorted(maps.Keys(d.Executables)) {
		path, err := filepath.Abs(d.Executables[kind])
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return d, fmt.Errorf("--dev-plugin %s=%s: %w", kind, d.Executables[kind], err)
		}
		d.Executables[kind] = path
		conf.sets = append(conf.sets, kind+".plugin="+filepath.Base(path))
	}
	return d, nil
}

// warnOfDevelopment warns loudly that a plugin runs unchecked.
func warnOfDevelopment(w io.Writer, d gateway.Develop) {
	for _, kind := range slices.Sorted(maps.Keys(d.Executables)) {
		fmt.Fprintf(w, "lmqgate: WARNING: the %s plugin is %s, unchecked, for development only: whoever can change that file decides for this gateway\n", kind, d.Executables[kind])
	}
	for _, kind := range slices.Sorted(maps.Keys(d.Attach)) {
		fmt.Fprintf(w, "lmqgate: WARNING: the %s plugin is whatever listens at %s, without TLS, for development only\n", kind, d.Attach[kind])
	}
}
