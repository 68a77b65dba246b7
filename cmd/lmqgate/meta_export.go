package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
)

func newMetaExportCommand(app *app) *cobra.Command {
	var conf configFlags
	var output string
	cmd := &cobra.Command{
		Use:   "export --config FILE [--output FILE]",
		Short: "Write the metadata to a file",
		Long: "Writes all topics, filters, sessions, retained messages and wills of the configuration's metadata backend, as lines of JSON.\n" +
			"Gateways may run; a backend that only one process can open (meta-local) wants them stopped. The last line has the number of\n" +
			"entries and a digest, so a file that is not whole is noticed. It holds retained messages: keep it as you keep those.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conf.load()
			if err != nil {
				return err
			}
			b, err := openMeta(cmd.Context(), c, c.Meta.Plugin, c.Meta.Config)
			if err != nil {
				return err
			}
			defer b.close()
			var sum *transfer.Sum
			export := func(w io.Writer) (err error) {
				sum, err = transfer.Export(cmd.Context(), w, b.client(), c.Meta.Plugin, time.Now(), metaTransfer(meta.Moved()))
				return err
			}
			if output == "" {
				return export(cmd.OutOrStdout())
			}
			if err := writeWhole(output, export); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "exported %d entries, %d bytes, sha256 %s\n", sum.Entries, sum.Bytes, sum.Digest())
			return err
		},
	}
	conf.app = app
	conf.register(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to `FILE`, readable by its owner only, instead of standard output")
	return cmd
}

// writeWhole writes a file that appears under its name only when it is complete and on disk.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // on success it was renamed
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
