package remoting

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// ErrInflated means that the inflated body exceeds the reader's limit.
var ErrInflated = errors.New("message body inflates to too much")

// maxWindow bounds the window of a ZSTD body, which its reader must keep in memory, in bytes. RocketMQ's clients use at most 8 MiB.
const maxWindow = 8 << 20

// Compressed reports whether Body is compressed.
func (m *Message) Compressed() bool { return m.SysFlag&sysFlagCompressed != 0 }

// Inflate returns the uncompressed body. Inflating takes memory in proportion to limit, whatever the body contains: it fails with
// ErrInflated if the result is larger than limit, and with ErrMalformed if the body is corrupt. An uncompressed body is returned without a
// copy.
func (m *Message) Inflate(limit int64) ([]byte, error) {
	if !m.Compressed() {
		return m.Body, nil
	}
	return inflate(m.Body, m.SysFlag&sysFlagCodecMask, limit)
}

// inflate decompresses with the codec in a message's flags. No codec means zlib, the only codec of older clients.
func inflate(b []byte, codec int32, limit int64) ([]byte, error) {
	var r io.Reader
	switch codec {
	case 0, sysFlagCodecZLIB:
		z, err := zlib.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("%w: zlib body of %d bytes: %w", ErrMalformed, len(b), err)
		}
		defer z.Close()
		r = z
	case sysFlagCodecLZ4:
		r = lz4.NewReader(bytes.NewReader(b))
	case sysFlagCodecZSTD:
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(uint64(max(limit+1, maxWindow))), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd body of %d bytes: %w", ErrMalformed, len(b), err)
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("%w: body compressed in an unknown way (%d)", ErrMalformed, codec>>8)
	}
	var out bytes.Buffer
	n, err := io.Copy(&out, io.LimitReader(r, limit+1))
	switch {
	case n > limit, errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return nil, fmt.Errorf("%w: %d bytes become more than %d", ErrInflated, len(b), limit)
	case err != nil:
		return nil, fmt.Errorf("%w: compressed body of %d bytes: %w", ErrMalformed, len(b), err)
	}
	return out.Bytes(), nil
}
