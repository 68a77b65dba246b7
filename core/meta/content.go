package meta

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Content summarises the content of a backend, so that two backends can be compared: the number of items, and a digest over namespaces,
// keys and values that does not depend on their order. It leaves out what nodes write about themselves every few seconds (NamespaceNodes,
// NamespaceChanges), and the removals of retained messages, which expire by themselves. It reads everything once.
func Content(ctx context.Context, client pluginv1.MetaClient) (string, error) {
	var sum digest
	items := 0
	for _, ns := range Moved() {
		stream, err := client.List(ctx, &pluginv1.ListRequest{Namespace: ns})
		for err == nil {
			var page *pluginv1.ListResponse
			if page, err = stream.Recv(); err != nil {
				break
			}
			for _, e := range page.GetEntries() {
				if ns == NamespaceRetained && removed(e.GetValue()) {
					continue
				}
				items++
				sum.add(ns, e.GetKey(), e.GetValue())
			}
		}
		if !errors.Is(err, io.EOF) {
			return "", backendError("list "+ns, err)
		}
	}
	return fmt.Sprintf("%d items with the digest %x", items, sum.bytes()), nil
}

// removed reports whether a value of NamespaceRetained records a removal.
func removed(value []byte) bool {
	var r retainedRecord
	return decode(NamespaceRetained, "", value, &r) == nil && r.Removed > 0
}

// digest is the sum of the items' SHA-256 hashes as 256-bit numbers, which does not depend on their order.
type digest [4]uint64

func (d *digest) add(ns, key string, value []byte) {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(ns), []byte(key), value} {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	sum := h.Sum(nil)
	var carry uint64
	for i := range d {
		d[i], carry = bits.Add64(d[i], binary.BigEndian.Uint64(sum[8*i:]), carry)
	}
}

// bytes returns the digest as it is shown.
func (d *digest) bytes() []byte {
	var out []byte
	for _, w := range d {
		out = binary.BigEndian.AppendUint64(out, w)
	}
	return out[:8]
}
