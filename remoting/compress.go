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

// ErrInflated says that a compressed body has more bytes than its reader takes.
var ErrInflated = errors.New("message body inflates to too much")

// maxWindow bounds what a ZSTD body may make its reader remember, in bytes. RocketMQ's clients use at most 8 MiB.
const maxWindow = 8 << 20

// Compressed reports whether Body is compressed.
func (m *Message) Compressed() bool { return m.SysFlag&sysFlagCompressed != 0 }

// Inflate returns the body as it was sent. A compressed body takes memory in proportion to limit, whatever its bytes say: it fails with
// ErrInflated where there are more than limit, and with ErrMalformed where it cannot be read. A body that is not compressed is
// returned as it is, not copied.
func (m *Message) Inflate(limit int64) ([]byte, error) {
	if !m.Compressed() {
		return m.Body, nil
	}
	return inflate(m.Body, m.SysFlag&sysFlagCodecMask, limit)
}

// inflate undoes the compression that a message's flags name. No name means zlib: older clients know no other.
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
