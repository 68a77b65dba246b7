package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// maxPublish bounds the body of a request that publishes, in bytes.
const maxPublish = 8 << 20

// messageBody is the JSON form of a message. At most one of the two payloads is used.
type messageBody struct {
	Topic           string         `json:"topic" minLength:"1" maxLength:"65535"`
	Payload         *string        `json:"payload,omitempty" doc:"As text."`
	Base64          []byte         `json:"payload_base64,omitempty" doc:"As base64, for what is no UTF-8 text."`
	QoS             byte           `json:"qos,omitempty" maximum:"2"`
	Retain          bool           `json:"retain,omitempty"`
	ContentType     string         `json:"content_type,omitempty"`
	ResponseTopic   string         `json:"response_topic,omitempty"`
	CorrelationData []byte         `json:"correlation_data,omitempty" doc:"As base64."`
	User            []userProperty `json:"user_properties,omitempty"`
	Expiry          int64          `json:"expiry_seconds,omitempty" minimum:"0" maximum:"4294967295" doc:"0: never."`
}

type userProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// message converts a body to a message.
func (m *messageBody) message() (Message, error) {
	if m.Payload != nil && m.Base64 != nil {
		return Message{}, fmt.Errorf("%w: topic %q has both payload and payload_base64; give one", ErrInvalid, m.Topic)
	}
	out := Message{Topic: m.Topic, Payload: m.Base64, QoS: m.QoS, Retain: m.Retain, ContentType: m.ContentType,
		ResponseTopic: m.ResponseTopic, CorrelationData: m.CorrelationData, Expiry: time.Duration(m.Expiry) * time.Second}
	if m.Payload != nil {
		out.Payload = []byte(*m.Payload)
	}
	for _, u := range m.User {
		out.User = append(out.User, [2]string{u.Name, u.Value})
	}
	return out, nil
}

// newMessageBody is the inverse of message.
func newMessageBody(m Message) messageBody {
	out := messageBody{Topic: m.Topic, QoS: m.QoS, Retain: m.Retain, ContentType: m.ContentType, ResponseTopic: m.ResponseTopic,
		CorrelationData: m.CorrelationData, Expiry: int64(m.Expiry / time.Second)}
	if utf8.Valid(m.Payload) {
		text := string(m.Payload)
		out.Payload = &text
	} else {
		out.Base64 = m.Payload
	}
	for _, u := range m.User {
		out.User = append(out.User, userProperty{u[0], u[1]})
	}
	return out
}

type publishInput struct {
	Body struct {
		Messages []messageBody `json:"messages" minItems:"1" maxItems:"1000"`
	}
}

type publishedBody struct {
	Published int      `json:"published" doc:"How many were stored."`
	Errors    []string `json:"errors,omitempty" doc:"Why the others were not, by topic."`
}

type retainedInput struct {
	PageInput
	Filter string `query:"filter" default:"#" doc:"A topic filter."`
}

type retainedBody struct {
	Retained []RetainedMessage `json:"retained"`
	Next     string            `json:"next,omitempty"`
}

type topicInput struct {
	Topic string `query:"topic" required:"true" minLength:"1"`
}

// registerMessages registers the operations that publish, and those about retained messages.
func registerMessages(api huma.API, b Backend) {
	op := operation("publish", http.MethodPost, "/publish", "messages", "Publish messages, in order")
	op.MaxBodyBytes = maxPublish
	huma.Register(api, op, func(ctx context.Context, in *publishInput) (*body[publishedBody], error) {
		messages := make([]Message, len(in.Body.Messages))
		for i := range in.Body.Messages {
			var err error
			if messages[i], err = in.Body.Messages[i].message(); err != nil {
				return nil, failed(err)
			}
		}
		var out publishedBody
		var last error
		for _, m := range messages {
			if err := b.Publish(ctx, m); err != nil {
				last = err
				out.Errors = append(out.Errors, fmt.Sprintf("%s: %s", m.Topic, strings.ReplaceAll(err.Error(), "\n", "; ")))
				continue
			}
			out.Published++
		}
		if out.Published == 0 && last != nil {
			return nil, failed(last)
		}
		return &body[publishedBody]{out}, nil
	})
	huma.Register(api, operation("list-retained", http.MethodGet, "/retained", "messages", "List retained messages that a filter matches"),
		func(ctx context.Context, in *retainedInput) (*body[retainedBody], error) {
			list, next, err := b.Retained(ctx, in.Filter, in.page())
			if err != nil {
				return nil, failed(err)
			}
			return &body[retainedBody]{retainedBody{notNil(list), next}}, nil
		})
	huma.Register(api, operation("get-retained", http.MethodGet, "/retained/message", "messages", "Get the retained message of a topic"),
		func(ctx context.Context, in *topicInput) (*body[messageBody], error) {
			m, err := b.RetainedMessage(ctx, in.Topic)
			if err != nil {
				return nil, failed(err)
			}
			return &body[messageBody]{newMessageBody(m)}, nil
		})
	set := operation("set-retained", http.MethodPut, "/retained/message", "messages", "Publish a message and retain it")
	set.MaxBodyBytes = maxPublish
	huma.Register(api, set, func(ctx context.Context, in *body[messageBody]) (*noContent, error) {
		m, err := in.Body.message()
		if err == nil && len(m.Payload) == 0 {
			err = fmt.Errorf("%w: an empty retained message removes the one that is there; DELETE does that", ErrInvalid)
		}
		if err == nil {
			m.Retain = true
			err = b.Publish(ctx, m)
		}
		if err != nil {
			return nil, failed(err)
		}
		return &noContent{}, nil
	})
	huma.Register(api, operation("delete-retained", http.MethodDelete, "/retained/message", "messages",
		"Remove the retained message of a topic"),
		func(ctx context.Context, in *topicInput) (*noContent, error) {
			if _, err := b.RetainedMessage(ctx, in.Topic); err != nil {
				return nil, failed(err)
			}
			if err := b.Publish(ctx, Message{Topic: in.Topic, QoS: 1, Retain: true}); err != nil {
				return nil, failed(err)
			}
			return &noContent{}, nil
		})
}
