package mqttload

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Hold connects n clients with clean sessions, each with one subscription of QoS 1 to a topic of its own below first, and leaves them idle.
// release closes all of them.
func Hold(ctx context.Context, t *Target, n int, first string) (release func(), err error) {
	if n < 1 || n > maxClients {
		return nil, fmt.Errorf("the number of idle clients goes from 1 to %d", maxClients)
	}
	// The reader of a client costs more than the connection, and an idle client needs none.
	r := &run{ctx: ctx, t: t}
	var mu sync.Mutex
	var conns []net.Conn
	_, err = r.connectAll(n, func(i int) (*client, error) {
		id := fmt.Sprintf("%s-idle-%d", first, i)
		c, _, err := t.connect(ctx, login{id: id})
		if err != nil {
			return nil, err
		}
		if err := c.subscribe(first+"/"+id, 1); err != nil {
			c.drop()
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, c.nc)
		return nil, nil
	})
	release = func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}
