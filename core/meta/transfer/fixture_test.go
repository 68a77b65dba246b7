package transfer

import (
	"context"
	"io"

	"google.golang.org/grpc"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

type grpcOption = grpc.CallOption

// exampleDigest was computed by an independent program that follows the definition of Sum.Digest.
const exampleDigest = "b9cc19c21adaf4afd0079442acb47f1712a0128d730d7ddffc3d5383661b6abf"

// unordered is a plugin that lists keys in the wrong order.
type unordered struct{ pluginv1.MetaClient }

func (u *unordered) List(context.Context, *pluginv1.ListRequest, ...grpcOption) (grpc.ServerStreamingClient[pluginv1.ListResponse], error) {
	return &pages{}, nil
}

type pages struct {
	grpc.ServerStreamingClient[pluginv1.ListResponse]
	done bool
}

func (p *pages) Recv() (*pluginv1.ListResponse, error) {
	if p.done {
		return nil, io.EOF
	}
	p.done = true
	return &pluginv1.ListResponse{Entries: []*pluginv1.Entry{{Key: "b"}, {Key: "a"}}}, nil
}
