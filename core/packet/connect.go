package packet

// Connect opens a connection (MQTT 5, 3.1).
type Connect struct {
	Version     Version
	CleanStart  bool   // Clean Session in MQTT 3
	KeepAlive   uint16 // seconds; 0: none
	ClientID    string
	Properties  *Properties
	Will        *Will // nil: none
	HasUsername bool
	Username    string
	HasPassword bool
	Password    []byte
}

// Will is the message that the server publishes when the connection ends without DISCONNECT (MQTT 5, 3.1.2.5).
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties *Properties
}

// Type returns CONNECT.
func (*Connect) Type() Type { return CONNECT }

// The bits of the connect flags (MQTT 5, 3.1.2.3).
const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUsername   = 1 << 7
)

func decodeConnect(d *decoder) *Connect {
	d.protocol()
	flags := d.byte("the connect flags")
	d.connectFlags(flags)
	c := &Connect{
		Version:     d.v,
		CleanStart:  flags&connectCleanStart != 0,
		KeepAlive:   d.uint16("the keep alive"),
		HasUsername: flags&connectUsername != 0,
		HasPassword: flags&connectPassword != 0,
	}
	if d.v == V5 {
		c.Properties = d.properties(connectProperties)
	}
	c.ClientID = d.text("the client identifier")
	if flags&connectWill != 0 {
		c.Will = d.will(flags)
	}
	if c.HasUsername && d.v == V31 && len(d.b) == 0 && d.err == nil {
		// In MQTT 3.1 the Remaining Length takes precedence over the flags (3.1, section 3.1).
		c.HasUsername, c.HasPassword = false, false
	}
	if c.HasUsername {
		c.Username = d.text("the user name")
	}
	if c.HasPassword && d.v == V31 && len(d.b) == 0 && d.err == nil {
		c.HasPassword = false
	}
	if c.HasPassword {
		c.Password = d.blob("the password")
	}
	d.end()
	return c
}

// bridgeLevel is the bit that bridges of some brokers set in the protocol level.
const bridgeLevel = 0x80

// protocol reads the protocol name and level, which determine the version of the rest.
func (d *decoder) protocol() {
	name := string(d.raw("the protocol name"))
	level := d.byte("the protocol level")
	if d.err != nil {
		return
	}
	switch {
	case name == "MQTT" && (level == byte(V311) || level == byte(V5)):
		d.v = Version(level)
	case name == "MQIsdp" && level == byte(V31):
		d.v = V31
	case level == byte(V5):
		d.v = V5
		d.fail(UnsupportedProtocolVersion, "", "MQTT-3.1.2-1", "protocol name %.16q, not MQTT", name)
	case name == "MQTT" && level > byte(V5) && level < bridgeLevel:
		d.v = V5 // later versions are likely to understand this form
		d.fail(UnsupportedProtocolVersion, "", "MQTT-3.1.2-2", "protocol %s with level %d", name, level)
	case name == "MQTT" || name == "MQIsdp":
		d.v = V311 // every client since 3.1 understands a CONNACK of this form
		d.fail(UnsupportedProtocolVersion, "MQTT-3.1.2-2", "MQTT-3.1.2-2", "protocol %s with level %d", name, level)
	default:
		d.v = V311
		d.fail(UnsupportedProtocolVersion, "MQTT-3.1.2-1", "MQTT-3.1.2-1", "protocol name %.16q, not MQTT", name)
	}
}

func (d *decoder) connectFlags(flags byte) {
	if d.err != nil {
		return
	}
	if flags&connectReserved != 0 {
		d.fail(MalformedPacket, "MQTT-3.1.2-3", "MQTT-3.1.2-3", "the reserved connect flag is set")
	}
	// MQTT 3.1 says to disregard the will's bits when there is no will; later texts forbid them.
	if flags&connectWill == 0 && d.v != V31 {
		if flags&connectWillQoS != 0 {
			d.fail(ProtocolError, "MQTT-3.1.2-13", "MQTT-3.1.2-11", "a will QoS without a will")
		}
		if flags&connectWillRetain != 0 {
			d.fail(ProtocolError, "MQTT-3.1.2-15", "MQTT-3.1.2-13", "will retain without a will")
		}
	}
	if flags&connectWill != 0 && flags&connectWillQoS == connectWillQoS {
		d.fail(MalformedPacket, "MQTT-3.1.2-14", "MQTT-3.1.2-12", "will QoS 3")
	}
	if flags&connectPassword != 0 && flags&connectUsername == 0 && d.v != V5 {
		d.fail(ProtocolError, "MQTT-3.1.2-22", "", "a password without a user name")
	}
}

func (d *decoder) will(flags byte) *Will {
	w := &Will{QoS: flags & connectWillQoS >> 3, Retain: flags&connectWillRetain != 0}
	if d.v == V5 {
		w.Properties = d.properties(willProperties)
	}
	w.Topic = d.topicName("the will topic")
	w.Payload = d.blob("the will payload")
	return w
}

func (*Connect) firstByte() byte { return byte(CONNECT) << 4 }

func (c *Connect) check(v Version) error {
	err := firstError(fits("the client identifier", len(c.ClientID)), fits("the user name", len(c.Username)),
		fits("the password", len(c.Password)))
	if w := c.Will; err == nil && w != nil {
		err = firstError(fits("the will topic", len(w.Topic)), fits("the will payload", len(w.Payload)))
		if err == nil && w.QoS > 2 {
			err = errQoS(w.QoS)
		}
		if err == nil && v == V5 {
			err = w.Properties.check(willProperties)
		}
	}
	if err == nil && v == V5 {
		err = c.Properties.check(connectProperties)
	}
	return err
}

func protocolName(v Version) string {
	if v == V31 {
		return "MQIsdp"
	}
	return "MQTT"
}

func (c *Connect) size(v Version) int {
	n := 2 + len(protocolName(v)) + 1 + 1 + 2
	if v == V5 {
		n += blockSize(c.Properties, connectProperties)
	}
	n += 2 + len(c.ClientID)
	if w := c.Will; w != nil {
		if v == V5 {
			n += blockSize(w.Properties, willProperties)
		}
		n += 2 + len(w.Topic) + 2 + len(w.Payload)
	}
	if c.HasUsername {
		n += 2 + len(c.Username)
	}
	if c.HasPassword {
		n += 2 + len(c.Password)
	}
	return n
}

func (c *Connect) encode(dst []byte, v Version) []byte {
	flags := bit(c.CleanStart, 1) | bit(c.HasPassword, 6) | bit(c.HasUsername, 7)
	if c.Will != nil {
		flags |= connectWill | c.Will.QoS<<3 | bit(c.Will.Retain, 5)
	}
	dst = appendText(dst, protocolName(v))
	dst = append(dst, byte(v), flags, byte(c.KeepAlive>>8), byte(c.KeepAlive))
	if v == V5 {
		dst = appendBlock(dst, c.Properties, connectProperties)
	}
	dst = appendText(dst, c.ClientID)
	if w := c.Will; w != nil {
		if v == V5 {
			dst = appendBlock(dst, w.Properties, willProperties)
		}
		dst = appendText(dst, w.Topic)
		dst = appendBinary(dst, w.Payload)
	}
	if c.HasUsername {
		dst = appendText(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendBinary(dst, c.Password)
	}
	return dst
}

var _ encodable = (*Connect)(nil)
