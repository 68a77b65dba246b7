package rocketmq

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// property is one property of a record to be sent.
type property = remoting.Property

// record is what is sent: properties and body.
type record struct {
	props []property
	body  []byte
}

// brokerReserve is space for what brokers add to the properties besides the offsets (region, trace, cluster name, store time), in bytes.
// offsetRoom is space for one offset of 15 digits and its comma.
const (
	brokerReserve = 768
	offsetRoom    = 16
)

// encode makes the records of an append: the main record first, then follow-ups with the rest of the dispatch set. It fails with
// ErrTooLarge.
func encode(id string, a *store.Append) ([]record, error) {
	m := a.Message
	base := messageProperties(id, m)
	size := brokerReserve + remoting.PropertySize(propDispatch, "") + remoting.PropertySize(propOffsets, "") +
		remoting.PropertySize(propTags, tagFollowUp) + remoting.PropertySize(propFollowUp, "1")
	for _, p := range base {
		size += remoting.PropertySize(p.Name, p.Value)
	}
	room := remoting.MaxProperties - size
	if room < 0 {
		return nil, fmt.Errorf("%w: topic and properties of a message to %q take %d bytes too many of a record's %d",
			store.ErrTooLarge, clip(m.Topic), -room, remoting.MaxProperties)
	}
	base, room = withContext(base, room, a)
	body := m.Payload
	if len(body) == 0 {
		body = []byte(emptyBody)
	}
	var out []record
	for rest := a.Queues; len(rest) > 0 || len(out) == 0; {
		n, left := 0, room
		for n < len(rest) && left >= queueCost(rest[n]) {
			left -= queueCost(rest[n])
			n++
		}
		if n == 0 && len(rest) > 0 {
			return nil, fmt.Errorf("%w: queue name %q does not fit a record with the message's properties", store.ErrTooLarge, clip(rest[0]))
		}
		out = append(out, record{props: withDispatch(base, rest[:n], len(out) > 0, len(out) == 0 && n < len(rest)), body: body})
		rest = rest[n:]
	}
	return out, nil
}

func queueCost(queue string) int { return len(lmqPrefix) + len(queue) + 1 + offsetRoom }

// withDispatch completes the properties of the main record or of a follow-up.
func withDispatch(base []property, queues []string, followUp, partial bool) []property {
	props := make([]property, 0, len(base)+3)
	props = append(props, base...)
	if len(queues) > 0 {
		var b strings.Builder
		for i, q := range queues {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(lmqPrefix)
			b.WriteString(q)
		}
		props = append(props, property{Name: propDispatch, Value: b.String()})
	}
	switch {
	case followUp:
		props = append(props, property{Name: propTags, Value: tagFollowUp}, property{Name: propFollowUp, Value: "1"})
	case partial:
		props = append(props, property{Name: propTags, Value: tagMQTT}, property{Name: propPartial, Value: "1"})
	default:
		props = append(props, property{Name: propTags, Value: tagMQTT})
	}
	return props
}

// qosValues and extValues are the property values for each QoS.
var (
	qosValues = [3]string{"0", "1", "2"}
	extValues = [3]string{`{"qosLevel":"0"}`, `{"qosLevel":"1"}`, `{"qosLevel":"2"}`}
)

// messageProperties returns the properties that the main record and its follow-ups share.
func messageProperties(id string, m *store.Message) []property {
	qos := min(m.QoS, 2)
	props := make([]property, 0, 12)
	props = append(props,
		property{Name: propID, Value: id},
		property{Name: propEmpty, Value: strconv.FormatBool(len(m.Payload) == 0)},
		property{Name: propQoS, Value: qosValues[qos]},
		property{Name: propRetries, Value: "0"},
		property{Name: propExt, Value: extValues[qos]},
	)
	props = appendText(props, propTopic, m.Topic)
	props = appendText(props, propPublisher, m.Publisher)
	if m.Retain {
		props = append(props, property{Name: propRetain, Value: "1"})
	}
	if !m.Created.IsZero() {
		props = append(props, property{Name: propCreated, Value: strconv.FormatInt(m.Created.UnixMilli(), 10)})
	}
	if !m.Expires.IsZero() {
		props = append(props, property{Name: propExpires, Value: strconv.FormatInt(m.Expires.UnixMilli(), 10)})
	}
	props = appendText(props, propExchange, m.Exchange)
	p := m.Properties
	if p == nil {
		return props
	}
	if p.HasFormat {
		props = append(props, property{Name: propFormat, Value: strconv.Itoa(int(p.PayloadFormat))})
	}
	props = appendText(props, propContentType, p.ContentType)
	props = appendText(props, propResponseTopic, p.ResponseTopic)
	if len(p.CorrelationData) > 0 {
		props = append(props, property{Name: propCorrelation, Value: base64.StdEncoding.EncodeToString(p.CorrelationData)})
	}
	switch emptyData := p.CorrelationData != nil && len(p.CorrelationData) == 0; {
	case p.EmptyType && emptyData:
		props = append(props, property{Name: propEmptyOnes, Value: propContentType + "," + propCorrelation})
	case p.EmptyType:
		props = append(props, property{Name: propEmptyOnes, Value: propContentType})
	case emptyData:
		props = append(props, property{Name: propEmptyOnes, Value: propCorrelation})
	}
	if len(p.User) > 0 {
		pairs := make([][2]string, len(p.User))
		for i, u := range p.User {
			pairs[i] = [2]string{u.Key, u.Value}
		}
		text, err := json.Marshal(pairs)
		if err == nil { // strings always encode
			props = append(props, property{Name: propUser, Value: string(text)})
		}
	}
	return props
}

// appendText adds a text property unless it is empty. The value is in Base64 if necessary.
func appendText(props []property, name, value string) []property {
	switch {
	case value == "":
		return props
	case remoting.PlainProperty(value):
		return append(props, property{Name: name, Value: value})
	}
	return append(props, property{Name: name + base64Suffix, Value: base64.StdEncoding.EncodeToString([]byte(value))})
}

// clip shortens a name for an error or a log line.
func clip(s string) string {
	if len(s) <= 100 {
		return s
	}
	return s[:100] + "…"
}
