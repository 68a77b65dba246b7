package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
)

func newMetaImportCommand(app *app) *cobra.Command {
	var conf configFlags
	var dryRun, overwrite bool
	cmd := &cobra.Command{
		Use:   "import --config FILE EXPORTED",
		Short: "Write the metadata of a file into a backend",
		Long: "Writes what lmqgate meta export wrote into the configuration's metadata backend. What is there already with the same value is\n" +
			"left alone, so an import can be repeated. Entries that have another value there end it before anything is written, unless\n" +
			"--overwrite is given. Nothing is removed. A file that is not whole is refused.",
		Args: wantArgs("EXPORTED"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conf.load()
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			sum, namespaces, err := transfer.Verify(f)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			for _, ns := range namespaces {
				if !slices.Contains(meta.Moved(), ns) {
					return fmt.Errorf("%s has the namespace %q, which this lmqgate does not know; use the newer lmqgate", args[0], ns)
				}
			}
			b, err := openMeta(cmd.Context(), c, c.Meta.Plugin, c.Meta.Config)
			if err != nil {
				return err
			}
			defer b.close()
			o := metaTransfer(meta.Moved())
			again := func() error {
				_, err := f.Seek(0, io.SeekStart)
				return err
			}
			var d differences
			if err := again(); err != nil {
				return err
			}
			if _, err := transfer.CompareFile(cmd.Context(), f, b.client(), o, d.note); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "the file has %d entries; %d are missing in the target, %d have another value there; the target has %d more, which stay\n",
				sum.Entries, d.missing, d.other, d.extra)
			for _, line := range d.first {
				fmt.Fprintln(cmd.OutOrStdout(), "  "+line)
			}
			if more := d.other - int64(len(d.first)); more > 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "  and %d more\n", more)
			}
			switch {
			case dryRun:
				return nil
			case d.other > 0 && !overwrite:
				return fmt.Errorf("%d entries have another value in the target (%s); nothing was written; --overwrite replaces them", d.other, strings.Join(d.first[:1], ""))
			}
			if err := again(); err != nil {
				return err
			}
			done, err := transfer.Import(cmd.Context(), f, b.client(), o, overwrite)
			if err != nil {
				return fmt.Errorf("the import is not complete; run it again: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "imported %d entries\n", done.Written)
			return err
		},
	}
	conf.app = app
	conf.register(cmd)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be written")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace entries that have another value")
	return cmd
}
