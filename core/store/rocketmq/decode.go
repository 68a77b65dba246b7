package rocketmq

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/remoting"
)

// defaultQoS is the QoS of messages whose producer set none.
const defaultQoS = 1

// decoding is what a message's properties say besides the record.
type decoding struct {
	// followUp is true for records that only carry entries.
	followUp bool
	// empty: a body equal to emptyBody stands for an empty payload.
	empty bool
	// foreign: the record does not count in the topic where it lies; see Store.belongs.
	foreign bool
}

// decode makes a record, without its payload, from a message of any origin; see setPayload.
func decode(broker string, m *remoting.Message) (*store.Record, decoding) {
	var d decoding
	r := &store.Record{Position: store.Position{
		Broker: broker, Partition: m.Queue, Offset: m.QueueOffset, Log: m.LogOffset, Time: m.StoreTime,
	}}
	r.QoS = defaultQoS
	created := m.BornTime
	var dispatch, offsets, ext, topic, user, parent, state string
	props := func() *store.Properties {
		if r.Properties == nil {
			r.Properties = &store.Properties{}
		}
		return r.Properties
	}
	qos := false
	remoting.EachProperty(m.Properties, func(name, v string) bool {
		switch name {
		case propID:
			r.ID = v
		case propDispatch:
			dispatch = v
		case propOffsets:
			offsets = v
		case propTopic:
			topic = v
		case propTopic + base64Suffix:
			topic = plainText(v)
		case propEmpty:
			d.empty = v == "true"
		case propQoS:
			if len(v) == 1 && v[0] >= '0' && v[0] <= '2' {
				r.QoS, qos = v[0]-'0', true
			}
		case propExt:
			ext = v
		case propPublisher:
			r.Publisher = v
		case propPublisher + base64Suffix:
			r.Publisher = plainText(v)
		case propRetain:
			r.Retain = v == "1"
		case propCreated:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				created = n
			}
		case propExpires:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				r.Expires = time.UnixMilli(n)
			}
		case propFormat:
			if v == "0" || v == "1" {
				props().PayloadFormat, props().HasFormat = v[0]-'0', true
			}
		case propContentType, propContentType + base64Suffix:
			if text := textOf(name, v); validText(text) {
				props().ContentType = text
			}
		case propResponseTopic, propResponseTopic + base64Suffix:
			if text := textOf(name, v); validTopicName(text) {
				props().ResponseTopic = text
			}
		case propCorrelation:
			if b, err := base64.StdEncoding.DecodeString(v); err == nil {
				props().CorrelationData = b
			}
		case propEmptyOnes:
			for one := range strings.SplitSeq(v, ",") {
				switch one {
				case propContentType:
					props().EmptyType = true
				case propCorrelation:
					props().CorrelationData = []byte{}
				}
			}
		case propUser:
			user = v
		case propParent:
			parent = v
		case propState:
			state = v
		case propExchange:
			r.Exchange = v
		case propPartial:
			r.Partial = v == "1"
		case propFollowUp:
			d.followUp = v == "1"
		}
		return true
	})
	r.Created = time.UnixMilli(created)
	if r.ID == "" {
		r.ID = broker + "@" + strconv.FormatInt(m.LogOffset, 10)
	}
	if user != "" {
		if u := userProperties(user); len(u) > 0 {
			props().User = u
		}
	}
	if parent != "" {
		if u := mergeContext(r.UserProperties(), parent, state); len(u) > 0 {
			props().User = u
		}
	}
	r.Entries = entries(dispatch, offsets)
	extTopic, extQoS := extData(ext)
	if !qos && extQoS >= 0 {
		r.QoS = byte(extQoS)
	}
	for _, t := range [...]string{extTopic, topic, dispatchTopic(m.Topic, dispatch)} {
		if validTopicName(t) {
			r.Topic = t
			break
		}
	}
	if r.Topic == "" {
		r.Topic = m.Topic
	}
	return r, d
}

// setPayload sets a record's payload from its message's body. The record keeps the body.
func (d decoding) setPayload(r *store.Record, body []byte) {
	if !d.empty || string(body) != emptyBody {
		r.Payload = body
	}
}

// textOf returns the value of a text property, which is in Base64 if its name says so.
func textOf(name, v string) string {
	if strings.HasSuffix(name, base64Suffix) {
		return plainText(v)
	}
	return v
}

func plainText(encoded string) string {
	b, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return ""
	}
	return string(b)
}

func userProperties(text string) []store.UserProperty {
	var pairs [][2]string
	if json.Unmarshal([]byte(text), &pairs) != nil || len(pairs) == 0 {
		return nil
	}
	out := make([]store.UserProperty, 0, len(pairs))
	for _, p := range pairs {
		if validText(p[0]) && validText(p[1]) {
			out = append(out, store.UserProperty{Key: p[0], Value: p[1]})
		}
	}
	return out
}

// extData decodes what matters of the extData property. qos is -1 if there is none.
func extData(ext string) (topic string, qos int) {
	if ext == "" {
		return "", -1
	}
	for i, v := range extValues { // the values that the gateway itself writes
		if ext == v {
			return "", i
		}
	}
	var data struct {
		Topic string `json:"mqttRealTopic"`
		QoS   string `json:"qosLevel"`
	}
	_ = json.Unmarshal([]byte(ext), &data) // fields of other types stay empty
	if len(data.QoS) == 1 && data.QoS[0] >= '0' && data.QoS[0] <= '2' {
		return data.Topic, int(data.QoS[0] - '0')
	}
	return data.Topic, -1
}

// entries pairs the dispatch set with the broker's offsets. Names that are not light message queues are left out.
func entries(dispatch, offsets string) []store.Entry {
	if dispatch == "" || offsets == "" {
		return nil
	}
	out := make([]store.Entry, 0, 1+strings.Count(dispatch, ","))
	for dispatch != "" && offsets != "" {
		var name, text string
		name, dispatch, _ = strings.Cut(dispatch, ",")
		text, offsets, _ = strings.Cut(offsets, ",")
		queue, ok := strings.CutPrefix(name, lmqPrefix)
		if !ok {
			continue
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
			out = append(out, store.Entry{Queue: queue, Offset: n})
		}
	}
	return out
}

// entryOf returns a message's offset in a light message queue, as the broker recorded it in the message.
func entryOf(m *remoting.Message, queue string) (int64, bool) {
	for _, e := range entries(m.Property(propDispatch), m.Property(propOffsets)) {
		if e.Queue == queue {
			return e.Offset, true
		}
	}
	return 0, false
}

// dispatchTopic returns the MQTT topic meant by a RocketMQ producer that set only the dispatch set: its last entry that is not a wildcard
// filter. T/a and T/a/ have the same queue name; the former is assumed, because it is far more common.
func dispatchTopic(rocketmqTopic, dispatch string) string {
	for dispatch != "" {
		name := dispatch
		if i := strings.LastIndexByte(dispatch, ','); i >= 0 {
			name, dispatch = dispatch[i+1:], dispatch[:i]
		} else {
			dispatch = ""
		}
		queue, ok := strings.CutPrefix(name, lmqPrefix)
		if !ok || queue == "" || strings.ContainsAny(queue, "+#") {
			continue
		}
		if client, ok := strings.CutPrefix(queue, "%p2p%"); ok {
			return rocketmqTopic + "/p2p/" + strings.TrimSuffix(client, "%")
		}
		return strings.TrimSuffix(strings.ReplaceAll(queue, "%", "/"), "/")
	}
	return ""
}

// validText reports whether a PUBLISH may carry the text (MQTT 5, 1.5.4).
func validText(s string) bool {
	return len(s) <= 65535 && !strings.Contains(s, "\x00") && utf8.ValidString(s)
}

// validTopicName reports whether a PUBLISH may carry the name. Names from other producers may be invalid.
func validTopicName(t string) bool {
	return t != "" && validText(t) && !strings.ContainsAny(t, "+#")
}
