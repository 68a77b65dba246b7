package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/admin"
)

// backupTimeout bounds the wait for a backup.
const backupTimeout = 30 * time.Minute

func newBackupCommand(app *app) *cobra.Command {
	var flags adminFlags
	cmd := &cobra.Command{
		Use: "backup", Short: "Copy the local store and the metadata of a running gateway",
		Long: "Makes a new directory below node.data_dir/backups on the gateway's machine and prints its name. Clients stay connected.\n" +
			"Files are linked where they do not change, so it is quick; copy the directory elsewhere, and remove it then.\n" +
			"To restore: stop the gateway, move what is in node.data_dir away, copy the directory's store to store.local.path,\n" +
			"run lmqgate meta import --config FILE metadata.jsonl, and start the gateway. Messages in RocketMQ are backed up with its brokers.",
		Args: wantArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.client()
			if err != nil {
				return err
			}
			c.timeout = backupTimeout
			var done admin.Backup
			if err := c.call(cmd.Context(), http.MethodPost, "/api/v1/backup", nil, &done); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), done.Directory)
			return nil
		},
	}
	flags.register(cmd, app)
	return cmd
}
