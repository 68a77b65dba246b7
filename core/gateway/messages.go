package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lmqgate/lmqgate/core/admin"
	"github.com/lmqgate/lmqgate/core/meta"
	"github.com/lmqgate/lmqgate/core/publish"
	"github.com/lmqgate/lmqgate/core/store"
	"github.com/lmqgate/lmqgate/core/topic"
)

// Publish stores a message of an operator.
func (b *backend) Publish(ctx context.Context, m admin.Message) error {
	if err := topic.ValidateName(m.Topic); err != nil {
		return fmt.Errorf("%w: topic %q: %w", admin.ErrInvalid, m.Topic, err)
	}
	if limit := int64(b.g.cfg.MQTT.MaxPacketSize); limit > 0 && int64(len(m.Payload)) > limit {
		return fmt.Errorf("%w: a payload of %d bytes is over mqtt.max_packet_size, which is %d", admin.ErrTooLarge, len(m.Payload), limit)
	}
	if err := validProperties(&m); err != nil {
		return err
	}
	out := &store.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, Created: time.Now()}
	if m.Expiry > 0 {
		out.Expires = out.Created.Add(m.Expiry)
	}
	if m.ContentType != "" || m.ResponseTopic != "" || m.CorrelationData != nil || len(m.User) > 0 {
		out.Properties = &store.Properties{ContentType: m.ContentType, ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData}
		for _, u := range m.User {
			out.Properties.User = append(out.Properties.User, store.UserProperty{Key: u[0], Value: u[1]})
		}
	}
	err := b.g.publisher.One(ctx, "", out)
	switch {
	case errors.Is(err, store.ErrTooLarge):
		return fmt.Errorf("%w: %w", admin.ErrTooLarge, err)
	case errors.Is(err, store.ErrUnknownTopic):
		return fmt.Errorf("%w: %w; lmqgate topic create makes it", admin.ErrNotFound, err)
	case publish.Refused(err):
		return fmt.Errorf("%w: %w", admin.ErrInvalid, err)
	}
	return err
}

// validProperties checks the properties of a PUBLISH by the rules of MQTT 5 (3.3.2.3): lengths of two bytes, text without U+0000, and a
// topic name as response topic.
func validProperties(m *admin.Message) error {
	if m.ResponseTopic != "" {
		if err := topic.ValidateName(m.ResponseTopic); err != nil {
			return fmt.Errorf("%w: response_topic %q: %w", admin.ErrInvalid, m.ResponseTopic, err)
		}
	}
	if len(m.CorrelationData) > math.MaxUint16 {
		return fmt.Errorf("%w: correlation_data has %d bytes; %d are allowed", admin.ErrInvalid, len(m.CorrelationData), math.MaxUint16)
	}
	texts := []string{m.ContentType}
	for _, u := range m.User {
		texts = append(texts, u[0], u[1])
	}
	for _, text := range texts {
		if len(text) > math.MaxUint16 || strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
			return fmt.Errorf("%w: content_type and user_properties are texts of up to %d bytes without U+0000", admin.ErrInvalid, math.MaxUint16)
		}
	}
	return nil
}

// Retained lists the retained messages that match a filter.
func (b *backend) Retained(_ context.Context, filter string, p admin.Page) ([]admin.RetainedMessage, string, error) {
	if err := topic.ValidateFilter(filter); err != nil {
		return nil, "", fmt.Errorf("%w: filter %q: %w", admin.ErrInvalid, filter, err)
	}
	values, _ := b.g.meta.Retained(filter)
	found := &firstOf[*meta.Retained]{n: p.Limit, key: func(v *meta.Retained) string { return v.Message.Topic }}
	for _, v := range values {
		if v.Message.Topic > p.After {
			found.add(v)
		}
	}
	page := found.part()
	out := make([]admin.RetainedMessage, 0, len(page.Items))
	for _, v := range page.Items {
		m := v.Message
		out = append(out, admin.RetainedMessage{Topic: m.Topic, Size: len(m.Payload), QoS: m.QoS, Publisher: m.Publisher,
			Created: m.Created, Expires: m.Expires})
	}
	return out, page.Next, nil
}

// RetainedMessage returns the retained message of a topic.
func (b *backend) RetainedMessage(_ context.Context, name string) (admin.Message, error) {
	if err := topic.ValidateName(name); err != nil {
		return admin.Message{}, fmt.Errorf("%w: topic %q: %w", admin.ErrInvalid, name, err)
	}
	values, _ := b.g.meta.Retained(name)
	if len(values) == 0 {
		return admin.Message{}, fmt.Errorf("%w: nothing is retained for topic %q", admin.ErrNotFound, name)
	}
	m := values[0].Message
	out := admin.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: true}
	if !m.Expires.IsZero() {
		out.Expiry = max(time.Second, time.Until(m.Expires).Truncate(time.Second))
	}
	if p := m.Properties; p != nil {
		out.ContentType, out.ResponseTopic, out.CorrelationData = p.ContentType, p.ResponseTopic, p.CorrelationData
		for _, u := range p.User {
			out.User = append(out.User, [2]string{u.Key, u.Value})
		}
	}
	return out, nil
}
