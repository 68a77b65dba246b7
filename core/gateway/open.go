package gateway

import (
	"fmt"
	"path/filepath"

	"github.com/lmqgate/lmqgate/core/config"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/store/local"
	"github.com/lmqgate/lmqgate/core/store/rocketmq"
)

// openStore makes the configured store.
func (g *Gateway) openStore() (store.Store, error) {
	if g.cfg.Store.Type == config.StoreLocal {
		c := g.cfg.Store.Local
		o := local.Options{Path: c.Path, Retention: c.Retention, Log: g.log, Registerer: g.registry}
		// A record holds the packet and the names of its queues.
		o.MaxRecord = max(local.DefaultMaxRecord, 2*int(g.cfg.MQTT.MaxPacketSize))
		if o.Path == "" {
			o.Path = filepath.Join(g.cfg.Node.DataDir, "store")
		}
		if every := c.Sync.Interval(); every > 0 {
			o.Sync, o.SyncInterval = local.SyncInterval, every
		}
		return local.New(o)
	}
	o, err := RocketMQ(g.cfg.Store.RocketMQ)
	if err != nil {
		return nil, err
	}
	o.Fallback, o.Events, o.NodeID, o.Log, o.Registerer = g.cfg.Topics.Fallback, g.cfg.Events.Topic, g.id, g.log, g.registry
	return rocketmq.New(o)
}

// RocketMQ returns the configured options for connecting to RocketMQ.
func RocketMQ(c config.RocketMQ) (rocketmq.Options, error) {
	tlsConfig, err := c.TLS.Client()
	if err != nil {
		return rocketmq.Options{}, fmt.Errorf("store.rocketmq.tls: %w", err)
	}
	return rocketmq.Options{Namesrv: c.Namesrv, AccessKey: c.AccessKey, SecretKey: c.SecretKey.Reveal(),
		SecurityToken: c.SecurityToken.Reveal(), TLS: tlsConfig, Producer: c.Producer, SendTimeout: c.SendTimeout}, nil
}
