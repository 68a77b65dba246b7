package mqtt

import (
	"context"

	"github.com/lmqgate/lmqgate/core/auth"
	"github.com/lmqgate/lmqgate/core/packet"
)

// authenticate authenticates the client by its password, or by the method that it names. If the client was answered already, it returns
// errEnded.
func (c *conn) authenticate(ctx context.Context, req auth.Request, props *packet.Properties) (*auth.Principal, error) {
	if props.AuthenticationMethod != nil {
		return c.exchange(ctx, req, props)
	}
	return c.srv.o.Authority.Authenticate(ctx, req)
}
