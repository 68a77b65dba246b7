package remoting

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// MaxBody is the largest message body after decompression, in bytes. RocketMQ's own limit is 4 MiB unless configured
// otherwise; the rest guards against small messages that decompress to anything.
const MaxBody = 64 << 20

// decompress undoes the compression that a message's flags name, up to limit bytes. No name means zlib: older clients know no
// other.
func decompress(b []byte, codec int32, limit int64) ([]byte, error) {
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
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderMaxWindow(16<<20))
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
	if err != nil {
		return nil, fmt.Errorf("%w: compressed body of %d bytes: %w", ErrMalformed, len(b), err)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: body of %d bytes decompresses to more than %d", ErrMalformed, len(b), limit)
	}
	return out.Bytes(), nil
}
