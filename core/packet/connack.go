package packet

// Connack answers CONNECT (MQTT 5, 3.2). For MQTT 3, encoding turns Code into a return code (Code.ConnackV3), and decoding leaves the
// return code, 0 to 5, in Code as it is.
type Connack struct {
	SessionPresent bool
	Code           Code
	Properties     *Properties
}

// Type returns CONNACK.
func (*Connack) Type() Type { return CONNACK }

func decodeConnack(d *decoder) *Connack {
	flags := d.byte("the acknowledge flags")
	if flags > 1 && d.v != V31 { // 3.1 calls the whole byte reserved
		d.fail(MalformedPacket, "MQTT-2.2.2-1", "MQTT-3.2.2-1", "acknowledge flags 0x%02x", flags)
	}
	c := &Connack{SessionPresent: flags&1 != 0 && d.v != V31}
	if d.v == V5 {
		c.Code = d.code(&connackCodes, "MQTT-3.2.2-8")
		c.Properties = d.properties(connackProperties)
	} else {
		c.Code = Code(d.byte("the return code"))
		if c.Code > 5 {
			d.fail(ProtocolError, "MQTT-3.2.2-6", "", "return code %d is reserved", byte(c.Code))
		}
	}
	if c.SessionPresent && c.Code != Success {
		d.fail(
			ProtocolError,
			"MQTT-3.2.2-4",
			"MQTT-3.2.2-6",
			"a session is present, but the connection is refused with 0x%02x",
			byte(c.Code),
		)
	}
	d.end()
	return c
}

func (*Connack) firstByte() byte { return byte(CONNACK) << 4 }

func (c *Connack) check(v Version) error {
	if c.SessionPresent && c.Code != Success {
		return errCode(c.Code) // [MQTT-3.2.2-6]
	}
	if v != V5 {
		return nil
	}
	if !connackCodes.has(c.Code) {
		return errCode(c.Code)
	}
	return c.Properties.check(connackProperties)
}

func (c *Connack) size(v Version) int {
	if v != V5 {
		return 2
	}
	return 2 + blockSize(c.Properties, connackProperties)
}

func (c *Connack) encode(dst []byte, v Version) []byte {
	if v != V5 {
		return append(dst, bit(c.SessionPresent && v == V311, 0), c.Code.ConnackV3())
	}
	dst = append(dst, bit(c.SessionPresent, 0), byte(c.Code))
	return appendBlock(dst, c.Properties, connackProperties)
}

var _ encodable = (*Connack)(nil)
