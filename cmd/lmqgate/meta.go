package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/meta/transfer"
	"github.com/lmqgate/lmqgate/core/pluginhost"
	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

func newMetaCommand(app *app) *cobra.Command {
	cmd := group(&cobra.Command{Use: "meta", Short: "Export, import, migrate and measure the metadata"})
	cmd.AddCommand(newMetaExportCommand(app), newMetaImportCommand(app), newMetaMigrateCommand(app), newMetaMeasureCommand(app))
	return cmd
}

// metaAnswers bounds the wait for a backend to answer its plugin.
const metaAnswers = 15 * time.Second

// metaBackend is a backend that a command uses through its own plugin process.
type metaBackend struct {
	plugin *pluginhost.Plugin
	host   *pluginhost.Host
}

// openMeta starts a meta plugin with a configuration block, and waits until its backend answers.
func openMeta(ctx context.Context, c *config.Config, name string, block config.PluginConfig) (*metaBackend, error) {
	host, err := pluginhost.New(pluginhost.Options{Dir: c.Plugins.Dir, Checksums: c.Plugins.Checksums, NodeID: "lmqgate-meta",
		DataDir: c.Node.DataDir, ConfigDir: c.Dir, StartTimeout: c.Plugins.StartTimeout})
	if err != nil {
		return nil, err
	}
	b := &metaBackend{host: host}
	if b.plugin, err = host.Start(ctx, name, pluginv1.Kind_KIND_META, block); err != nil {
		_ = host.Close()
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, metaAnswers)
	defer cancel()
	for {
		_, err := b.client().Get(ctx, &pluginv1.GetRequest{Namespace: meta.NamespaceUpstream, Key: "ALL_FIRST_TOPICS"})
		if err == nil {
			return b, nil
		}
		select {
		case <-ctx.Done():
			_ = host.Close()
			return nil, fmt.Errorf("%s: its backend does not answer: %w", name, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (b *metaBackend) client() pluginv1.MetaClient  { return b.plugin.Meta() }
func (b *metaBackend) traits() *pluginv1.MetaTraits { return b.plugin.Describe().GetMeta() }
func (b *metaBackend) close()                       { _ = b.host.Close() }
func metaTransfer(namespaces []string) transfer.Options {
	return transfer.Options{Namespaces: namespaces, Lifetime: meta.Lifetime}
}

// shownDifferences is how many differences are named; the others are only counted.
const shownDifferences = 10

// differences counts differences and names the first.
type differences struct {
	missing, other, extra int64
	first                 []string
}

func (d *differences) note(x transfer.Difference) error {
	switch {
	case x.B == nil:
		d.missing++
		return nil
	case x.A == nil:
		d.extra++
		return nil
	}
	if d.other++; len(d.first) < shownDifferences {
		d.first = append(d.first, oneLine(x.String()))
	}
	return nil
}
