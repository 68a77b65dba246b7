package auth

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Record writes down what Authorize must know of a client, for what is judged when its connection is over, perhaps on another node. It
// holds no password and no token. It is empty for anonymous clients, who need not be judged.
func (p *Principal) Record() []byte {
	if p == nil || p.AdmittedBy() == "" {
		return nil
	}
	client := p.client
	if Shown(p.Username()) != p.Username() {
		client = proto.CloneOf(client)
		client.Connection.Username = ""
	}
	b, err := proto.Marshal(client)
	if err != nil {
		return nil // texts can always be marshalled
	}
	return b
}

// Recorded is the client that Record wrote down; nil where that is empty.
func Recorded(b []byte) (*Principal, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // nobody in particular
	}
	client := &pluginv1.Client{}
	if err := proto.Unmarshal(b, client); err != nil {
		return nil, fmt.Errorf("the record of a client cannot be read: %w", err)
	}
	p := &Principal{client: client}
	p.setBuckets()
	return p, nil
}

// Lasting is the client without the end of its admission, for what it has left behind while that was good.
func (p *Principal) Lasting() *Principal {
	if p == nil || p.expiresAt.IsZero() {
		return p
	}
	return &Principal{client: p.client, buckets: p.buckets}
}
