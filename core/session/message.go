package session

import (
	"math"
	"time"

	"github.com/lmqgate/lmqgate/core/packet"
	"github.com/lmqgate/lmqgate/core/store"
)

// NewMessage makes the message to store for a client's PUBLISH or will. publishProperties is its inverse.
func NewMessage(p *packet.Publish, publisher string) *store.Message {
	m := &store.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, Publisher: publisher, Created: time.Now()}
	in := p.Properties
	if in == nil {
		return m
	}
	if in.MessageExpiryInterval != nil {
		m.Expires = m.Created.Add(time.Duration(*in.MessageExpiryInterval) * time.Second)
	}
	if in.PayloadFormat == nil && in.ContentType == nil && in.ResponseTopic == nil && in.CorrelationData == nil && len(in.User) == 0 {
		return m
	}
	out := &store.Properties{CorrelationData: in.CorrelationData}
	if in.PayloadFormat != nil {
		out.HasFormat, out.PayloadFormat = true, *in.PayloadFormat
	}
	if in.ContentType != nil {
		out.ContentType, out.EmptyType = *in.ContentType, *in.ContentType == ""
	}
	if in.ResponseTopic != nil {
		out.ResponseTopic = *in.ResponseTopic
	}
	for _, u := range in.User {
		out.User = append(out.User, store.UserProperty{Key: u.Key, Value: u.Value})
	}
	m.Properties = out
	return m
}

// publishProperties makes the properties that travel with a message (MQTT 5, 3.3.2.3) and adds the identifiers of the subscriptions that
// match it.
func publishProperties(m *store.Message, ids []uint32) *packet.Properties {
	out := &packet.Properties{SubscriptionIdentifiers: ids}
	if !m.Expires.IsZero() {
		left := secondsUntil(m.Expires) // [MQTT-3.3.2-6]: the remaining time
		out.MessageExpiryInterval = &left
	}
	p := m.Properties
	if p == nil {
		return out
	}
	if p.HasFormat {
		out.PayloadFormat = &p.PayloadFormat
	}
	if p.ContentType != "" || p.EmptyType {
		out.ContentType = &p.ContentType
	}
	if p.ResponseTopic != "" {
		out.ResponseTopic = &p.ResponseTopic
	}
	out.CorrelationData = p.CorrelationData
	for _, u := range p.User {
		out.User = append(out.User, packet.UserProperty{Key: u.Key, Value: u.Value})
	}
	return out
}

// secondsUntil returns the seconds until at, rounded up, within the range of an MQTT interval.
func secondsUntil(at time.Time) uint32 {
	left := max(time.Until(at), 0)
	seconds := int64(left / time.Second)
	if left%time.Second > 0 {
		seconds++
	}
	return uint32(min(seconds, math.MaxUint32))
}
