package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
	"github.com/lmqgate/lmqgate/core/store/local"
)

const (
	// backupDir is the directory of backups below node.data_dir. maxBackups bounds their number, because each keeps data that the store
	// removes.
	backupDir  = "backups"
	maxBackups = 10
	// The parts of a backup: a directory for store.local.path, and a file for lmqgate meta import.
	backupStore = "store"
	backupMeta  = "metadata.jsonl"
)

// Backup copies the metadata and the local store into a new directory while the node serves. The metadata is copied first, so that
// everything it refers to in the store is in the store's copy.
func (b *backend) Backup(ctx context.Context) (admin.Backup, error) {
	st, ok := b.g.store.(*local.Store)
	if !ok {
		return admin.Backup{}, admin.Conflict("the messages are in RocketMQ, whose brokers are backed up; lmqgate meta export copies the metadata")
	}
	all := filepath.Join(b.g.cfg.Node.DataDir, backupDir)
	if err := os.MkdirAll(all, 0o700); err != nil {
		return admin.Backup{}, err
	}
	had, err := os.ReadDir(all)
	if err != nil {
		return admin.Backup{}, err
	}
	if len(had) >= maxBackups {
		return admin.Backup{}, admin.Conflict("there are %d backups in %s, and each keeps what the store removes; take some away", len(had), all)
	}
	began := time.Now()
	dir := filepath.Join(all, began.UTC().Format("20060102T150405.000Z"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return admin.Backup{}, fmt.Errorf("a backup of this moment: %w", err)
	}
	out := admin.Backup{Directory: dir}
	ctx = context.WithoutCancel(ctx) // continue even if the caller no longer waits: half a copy is useless
	out.Keys, err = b.backupInto(ctx, dir, st)
	if err != nil {
		return admin.Backup{}, errors.Join(err, os.RemoveAll(dir))
	}
	out.Seconds = time.Since(began).Seconds()
	b.g.log.Info("backed up the store and the metadata", "directory", dir, "keys", out.Keys,
		"took", time.Since(began).Round(time.Millisecond))
	return out, nil
}

// backupInto fills the directory of a backup. It returns the number of metadata keys.
func (b *backend) backupInto(ctx context.Context, dir string, st *local.Store) (keys int64, err error) {
	p := b.g.presentMeta()
	err = writeFile(filepath.Join(dir, backupMeta), func(w io.Writer) error {
		what := transfer.Options{Namespaces: meta.Moved(), Lifetime: meta.Lifetime}
		sum, err := transfer.Export(ctx, w, p.Meta(), p.Spec().Name, time.Now(), what)
		if err == nil {
			keys = sum.Entries
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("copying the metadata: %w", err)
	}
	return keys, st.Backup(ctx, filepath.Join(dir, backupStore))
}

// writeFile creates a file that only its owner can read. It returns once the file is synced to disk.
func writeFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
