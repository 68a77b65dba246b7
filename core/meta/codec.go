package meta

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lmqgate/lmqgate/core/store"
)

// recordVersion is the version in every value of ours. A value with a higher version is refused.
const recordVersion = 1

// newest returns the highest version of a namespace's values that this gateway can read.
func newest(ns string) int {
	if ns == NamespaceSessions {
		return pagedVersion
	}
	return recordVersion
}

// header is part of every value of ours.
type header struct {
	V int `json:"v"`
}

func encode(record any) []byte {
	data, err := json.Marshal(record)
	if err != nil { // the records hold nothing that JSON cannot express
		panic(fmt.Sprintf("meta: encode %T: %v", record, err))
	}
	return data
}

// decode decodes a value of ours. The error says what is wrong and what to do. Unknown fields are ignored.
func decode(ns, key string, value []byte, record any) error {
	var h header
	if err := json.Unmarshal(value, &h); err != nil {
		return fmt.Errorf("%s %q is not a JSON object of ours (%w); correct it or remove the key", ns, key, err)
	}
	if h.V > newest(ns) {
		return fmt.Errorf("%s %q has version %d, this gateway reads up to %d; run the newer lmqgate", ns, key, h.V, newest(ns))
	}
	if h.V < 1 {
		return fmt.Errorf(`%s %q has no version; add "v":%d or remove the key`, ns, key, recordVersion)
	}
	if err := json.Unmarshal(value, record); err != nil {
		return fmt.Errorf("%s %q: %w; correct it or remove the key", ns, key, err)
	}
	return nil
}

// millis and fromMillis convert between times and milliseconds since the epoch; 0 is the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(max(1, min(ms, lastMilli)))
}

// lastMilli is the last millisecond of the year 9999. Times that somebody wrote by hand may be later, and JSON cannot express those.
const lastMilli = 253402300799999

// messageRecord is a message in JSON; byte strings are in base64.
type messageRecord struct {
	Topic      string            `json:"topic"`
	Payload    []byte            `json:"payload,omitempty"`
	QoS        byte              `json:"qos"`
	Retain     bool              `json:"retain,omitempty"`
	Publisher  string            `json:"publisher,omitempty"`
	Created    int64             `json:"created_ms,omitempty"`
	Expires    int64             `json:"expires_ms,omitempty"`
	Properties *propertiesRecord `json:"properties,omitempty"`
}

type propertiesRecord struct {
	Format          *byte       `json:"payload_format,omitempty"`
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData []byte      `json:"correlation_data,omitempty"`
	EmptyType       bool        `json:"empty_content_type,omitempty"`
	EmptyData       bool        `json:"empty_correlation_data,omitempty"`
	User            [][2]string `json:"user,omitempty"`
}

func toMessageRecord(m *store.Message) *messageRecord {
	r := &messageRecord{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Publisher: m.Publisher,
		Created: millis(m.Created), Expires: millis(m.Expires)}
	if p := m.Properties; p != nil {
		pr := &propertiesRecord{ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData,
			EmptyType: p.EmptyType, EmptyData: p.CorrelationData != nil && len(p.CorrelationData) == 0}
		if p.HasFormat {
			f := p.PayloadFormat
			pr.Format = &f
		}
		for _, u := range p.User {
			pr.User = append(pr.User, [2]string{u.Key, u.Value})
		}
		r.Properties = pr
	}
	return r
}

func (r *messageRecord) message() *store.Message {
	if r == nil {
		return nil
	}
	m := &store.Message{Topic: r.Topic, Payload: r.Payload, QoS: r.QoS, Retain: r.Retain, Publisher: r.Publisher,
		Created: fromMillis(r.Created), Expires: fromMillis(r.Expires)}
	if p := r.Properties; p != nil {
		m.Properties = &store.Properties{ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData,
			EmptyType: p.EmptyType}
		if p.EmptyData {
			m.Properties.CorrelationData = []byte{}
		}
		if p.Format != nil {
			m.Properties.HasFormat, m.Properties.PayloadFormat = true, *p.Format
		}
		for _, u := range p.User {
			m.Properties.User = append(m.Properties.User, store.UserProperty{Key: u[0], Value: u[1]})
		}
	}
	return m
}
