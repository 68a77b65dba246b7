package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Backup is a copy of the local store and the metadata.
type Backup struct {
	Directory string  `json:"directory" doc:"On the node's machine: store is a directory for store.local.path, metadata.jsonl a file for lmqgate meta import."`
	Keys      int64   `json:"keys" doc:"Of the metadata."`
	Seconds   float64 `json:"seconds" doc:"How long it took."`
}

// backupTime bounds a backup and its answer.
const backupTime = 30 * time.Minute

// registerBackup registers the copy of a node's data.
func registerBackup(api huma.API, b Backend) {
	op := operation("back-up", http.MethodPost, "/backup", "node", "Copy the local store and the metadata into a new directory below node.data_dir, while the node serves")
	op.DefaultStatus = http.StatusCreated
	op.Middlewares = withTime(backupTime)
	huma.Register(api, op, func(ctx context.Context, _ *struct{}) (*body[Backup], error) {
		done, err := b.Backup(ctx)
		if err != nil {
			return nil, failed(err)
		}
		return &body[Backup]{done}, nil
	})
}
