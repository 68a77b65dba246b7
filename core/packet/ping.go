package packet

// Pingreq is a keep-alive request (MQTT 5, 3.12).
type Pingreq struct{}

// Type returns PINGREQ.
func (*Pingreq) Type() Type { return PINGREQ }

func (*Pingreq) firstByte() byte                     { return byte(PINGREQ) << 4 }
func (*Pingreq) check(Version) error                 { return nil }
func (*Pingreq) size(Version) int                    { return 0 }
func (*Pingreq) encode(dst []byte, _ Version) []byte { return dst }

// Pingresp answers Pingreq (MQTT 5, 3.13).
type Pingresp struct{}

// Type returns PINGRESP.
func (*Pingresp) Type() Type { return PINGRESP }

func (*Pingresp) firstByte() byte                     { return byte(PINGRESP) << 4 }
func (*Pingresp) check(Version) error                 { return nil }
func (*Pingresp) size(Version) int                    { return 0 }
func (*Pingresp) encode(dst []byte, _ Version) []byte { return dst }

// AppendPingresp appends a PINGRESP, which is the same in every version.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }

var (
	_ encodable = (*Pingreq)(nil)
	_ encodable = (*Pingresp)(nil)
)
