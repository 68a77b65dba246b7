package packet

import "errors"

// Auth carries a step of enhanced authentication (MQTT 5, 3.15).
type Auth struct {
	Code       Code
	Properties *Properties
}

// Type returns AUTH.
func (*Auth) Type() Type { return AUTH }

func decodeAuth(d *decoder) *Auth {
	p := &Auth{}
	allowed := &clientAuthCodes
	if d.client {
		allowed = &serverAuthCodes
	}
	if len(d.b) == 0 { // an empty AUTH says success, which only a server can
		if !d.client && d.err == nil {
			d.fail(ProtocolError, "", "MQTT-3.15.2-1", "reason code 0x00 from a client")
		}
		return p
	}
	p.Code = d.code(allowed, "MQTT-3.15.2-1")
	p.Properties = d.properties(authProperties)
	if d.err == nil && (p.Properties == nil || p.Properties.AuthenticationMethod == nil) {
		d.fail(ProtocolError, "", "MQTT-4.13.1-1", "no Authentication Method (3.15.2.2.2)")
	}
	d.end()
	return p
}

func (*Auth) firstByte() byte { return byte(AUTH) << 4 }

func (p *Auth) check(v Version) error {
	if v != V5 {
		return errors.New("MQTT 3 has no AUTH")
	}
	if !anyAuthCodes.has(p.Code) {
		return errCode(p.Code)
	}
	if p.size(v) > 0 && (p.Properties == nil || p.Properties.AuthenticationMethod == nil) {
		return errors.New("no Authentication Method")
	}
	return p.Properties.check(authProperties)
}

func (p *Auth) size(Version) int {
	set := p.Properties.present(authProperties)
	if p.Code == Success && set == 0 {
		return 0
	}
	n := propertiesSize(p.Properties, set)
	return 1 + varintSize(n) + n
}

func (p *Auth) encode(dst []byte, v Version) []byte {
	if p.size(v) == 0 {
		return dst
	}
	return appendBlock(append(dst, byte(p.Code)), p.Properties, authProperties)
}

var _ encodable = (*Auth)(nil)
