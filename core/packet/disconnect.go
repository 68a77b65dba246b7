package packet

// Disconnect is the last packet of a connection (MQTT 5, 3.14). In MQTT 3 only clients send it, and it is empty.
type Disconnect struct {
	Code       Code
	Properties *Properties
}

// Type returns DISCONNECT.
func (*Disconnect) Type() Type { return DISCONNECT }

func decodeDisconnect(d *decoder) *Disconnect {
	p := &Disconnect{}
	if d.v == V5 && len(d.b) > 0 {
		allowed := &clientDisconnectCodes
		if d.client {
			allowed = &serverDisconnectCodes
		}
		p.Code = d.code(allowed, "MQTT-3.14.2-1")
		if len(d.b) > 0 {
			p.Properties = d.properties(disconnectProperties)
		}
		if d.client && p.Properties != nil && p.Properties.SessionExpiryInterval != nil {
			d.fail(ProtocolError, "", "MQTT-3.14.2-2", "a Session Expiry Interval from a server")
		}
	}
	d.end()
	return p
}

func (*Disconnect) firstByte() byte { return byte(DISCONNECT) << 4 }

func (p *Disconnect) check(v Version) error {
	if v != V5 {
		return nil
	}
	if !anyDisconnectCodes.has(p.Code) {
		return errCode(p.Code)
	}
	return p.Properties.check(disconnectProperties)
}

func (p *Disconnect) size(v Version) int {
	if v != V5 {
		return 0
	}
	if set := p.Properties.present(disconnectProperties); set != 0 {
		n := propertiesSize(p.Properties, set)
		return 1 + varintSize(n) + n
	}
	if p.Code != NormalDisconnection {
		return 1
	}
	return 0
}

func (p *Disconnect) encode(dst []byte, v Version) []byte {
	n := p.size(v)
	if n > 0 {
		dst = append(dst, byte(p.Code))
	}
	if n > 1 {
		dst = appendBlock(dst, p.Properties, disconnectProperties)
	}
	return dst
}

var _ encodable = (*Disconnect)(nil)
