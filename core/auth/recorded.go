package auth

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Record encodes what Authorize must know of a client, for decisions after its connection has ended, perhaps on another node. It contains
// no password and no token. It is empty for anonymous clients, which need no authorisation.
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

// Recorded decodes a client that Record encoded; it returns nil for an empty record.
func Recorded(b []byte) (*Principal, error) {
	if len(b) == 0 {
		return nil, nil //nolint:nilnil // an anonymous client
	}
	client := &pluginv1.Client{}
	if err := proto.Unmarshal(b, client); err != nil {
		return nil, fmt.Errorf("the record of a client cannot be read: %w", err)
	}
	p := &Principal{client: client}
	p.setBuckets()
	return p, nil
}

// Lasting returns the client without the expiry of its admission, for decisions about what it left behind while the admission was valid.
func (p *Principal) Lasting() *Principal {
	if p == nil || p.expiresAt.IsZero() {
		return p
	}
	return &Principal{client: p.client, buckets: p.buckets}
}
