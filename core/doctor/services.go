package doctor

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/lmqgate/lmqgate/core/config"
)

// patience is how long a service may take to answer.
const patience = 3 * time.Second

// services connects to the addresses in the plugin blocks. If a block has several, one of them must answer.
func services(ctx context.Context, o *Options) (out []Finding) {
	c := o.Config
	look := func(section string, block config.PluginConfig) {
		key, addresses := block.Addresses()
		if key == "" {
			return
		}
		var refused []string
		for _, a := range addresses {
			d := net.Dialer{Timeout: patience}
			nc, err := d.DialContext(ctx, "tcp", a.Dial)
			if err != nil {
				refused = append(refused, fmt.Sprintf("%s.%s: %s does not answer: %s", section, key, a.Shown, cause(err)))
				continue
			}
			_ = nc.Close()
		}
		for _, what := range refused {
			f := fault(what, fmt.Sprintf("start the service, open the way to it, or correct %s.%s", section, key))
			if len(refused) < len(addresses) {
				f.Level = Warning
			}
			out = append(out, f)
		}
	}
	if !c.Auth.Anonymous() {
		look("auth.config", c.Auth.Config)
	}
	look("meta.config", c.Meta.Config)
	if c.Meta.Next.Plugin != "" {
		look("meta.next.config", c.Meta.Next.Config)
	}
	return out
}
