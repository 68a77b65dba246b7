package plugintest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	pluginv1 "github.com/lmqgate/lmqgate/plugins/proto/lmqgate/plugin/v1"
)

// Deadlines of the gateway. startLimit covers everything from the start of a process to the first answer of Health.
const (
	startLimit      = 9 * time.Second
	healthLimit     = 2 * time.Second
	deactivateLimit = 5 * time.Second
	authLimit       = 3 * time.Second
	metaLimit       = 10 * time.Second
)

// limitOf returns the gateway's deadline for a unary call.
func limitOf(method string) time.Duration {
	switch {
	case strings.HasPrefix(method, "/"+pluginv1.Auth_ServiceDesc.ServiceName+"/"):
		return authLimit
	case strings.HasPrefix(method, "/"+pluginv1.Meta_ServiceDesc.ServiceName+"/"):
		return metaLimit
	case method == pluginv1.Plugin_Health_FullMethodName:
		return healthLimit
	case method == pluginv1.Plugin_Deactivate_FullMethodName:
		return deactivateLimit
	}
	return startLimit
}

// watcher sees every message between the kit and one process, for reports and for checks that apply to every answer.
type watcher struct {
	// texts receives every human-readable text: details, problems, reasons, error messages.
	texts    func(where, text string)
	patience patience

	mu          sync.Mutex
	asked, came string
	// broken is set by an answer that is too large for the gateway.
	broken string
}

// last returns the newest request and answer.
func (w *watcher) last() (asked, came string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked, w.came
}

// unary bounds each call as the gateway does, and records it.
func (w *watcher) unary(
	ctx context.Context,
	method string,
	req, reply any,
	cc *grpc.ClientConn,
	invoke grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	limit := limitOf(method)
	bound, cancel := context.WithTimeout(ctx, w.patience.times(limit))
	defer cancel()
	begin := time.Now()
	err := invoke(bound, method, req, reply, cc, opts...)
	if status.Code(err) == codes.DeadlineExceeded && ctx.Err() == nil && time.Since(begin) >= w.patience.times(limit) {
		err = status.Errorf(codes.DeadlineExceeded, "no answer to %s within the gateway's %v", short(method), limit)
	}
	w.note(method, req, reply, err)
	return err
}

// stream records the messages of a stream.
func (w *watcher) stream(
	ctx context.Context,
	desc *grpc.StreamDesc,
	cc *grpc.ClientConn,
	method string,
	open grpc.Streamer,
	opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, cc, method, opts...)
	if err != nil {
		w.note(method, nil, nil, err)
		return nil, err
	}
	return &watchedStream{ClientStream: s, watcher: w, method: method}, nil
}

type watchedStream struct {
	grpc.ClientStream
	watcher *watcher
	method  string
	req     any
}

func (s *watchedStream) SendMsg(m any) error {
	s.req = m
	return s.ClientStream.SendMsg(m)
}

func (s *watchedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	s.watcher.note(s.method, s.req, m, err)
	return err
}

func (w *watcher) note(method string, req, reply any, err error) {
	asked := short(method) + render(req)
	came := errText(err)
	if err == nil {
		came = nameOf(reply) + render(reply)
		tell(w.texts, short(method), reply)
	} else {
		w.texts(short(method)+" error", status.Convert(err).Message())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked, w.came = asked, came
	if w.broken == "" && tooLarge(err) {
		w.broken = fmt.Sprintf("an answer to %s is larger than the gateway takes: %s", short(method), status.Convert(err).Message())
	}
}

// tooLarge reports whether gRPC itself refused an answer for its size, here or before the plugin sent it.
func tooLarge(err error) bool {
	s := status.Convert(err)
	return s.Code() == codes.ResourceExhausted && slices.ContainsFunc([]string{
		"grpc: received message larger than max", "trying to send message larger than max", // grpc-go
		"SERVER: Sent message larger than max", "Sent message larger than max", // the C core, which most other languages use
	}, func(prefix string) bool { return strings.HasPrefix(s.Message(), prefix) })
}

// tell passes the human-readable texts of a message to texts.
func tell(texts func(where, text string), where string, reply any) {
	switch r := reply.(type) {
	case *pluginv1.AuthenticateResponse:
		texts(where+" detail", r.GetDetail())
	case *pluginv1.AuthorizeResponse:
		for _, d := range r.GetDecisions() {
			texts(where+" detail", d.GetDetail())
		}
	case *pluginv1.ExchangeResponse:
		texts(where+" detail", r.GetResult().GetDetail())
	case *pluginv1.Revocation:
		texts(where+" detail", r.GetDetail())
	case *pluginv1.ConfigureResponse:
		for _, p := range r.GetProblems() {
			texts(where+" problem "+p.GetKey(), p.GetMessage())
		}
	case *pluginv1.HealthResponse:
		texts(where+" reason", r.GetReason())
	}
}

func short(method string) string { return method[strings.LastIndexByte(method, '/')+1:] }

func nameOf(m any) string {
	if p, ok := m.(proto.Message); ok {
		return string(p.ProtoReflect().Descriptor().Name())
	}
	return ""
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	s, ok := status.FromError(err)
	if !ok {
		return err.Error()
	}
	return "gRPC error " + s.Code().String() + ": " + quote(s.Message())
}

// render formats a message for a report: short, and without passwords and configurations.
func render(m any) string {
	p, ok := m.(proto.Message)
	if !ok {
		return "{}"
	}
	var b strings.Builder
	renderMessage(&b, p.ProtoReflect())
	const most = 600
	if text := b.String(); len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return b.String()
}

func renderMessage(b *strings.Builder, m protoreflect.Message) {
	b.WriteByte('{')
	fields := m.Descriptor().Fields()
	first := true
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		if !first {
			b.WriteString(", ")
		}
		first = false
		b.WriteString(string(f.Name()) + ": ")
		v := m.Get(f)
		switch {
		case f.Name() == "password" || f.Name() == "config_json":
			fmt.Fprintf(b, "<%d bytes>", len(v.Bytes()))
		case f.IsMap():
			fmt.Fprintf(b, "<%d attributes>", v.Map().Len())
		case f.IsList():
			renderList(b, f, v.List())
		default:
			renderValue(b, f, v)
		}
	}
	b.WriteByte('}')
}

func renderList(b *strings.Builder, f protoreflect.FieldDescriptor, l protoreflect.List) {
	const most = 4
	b.WriteByte('[')
	for i := range min(l.Len(), most) {
		if i > 0 {
			b.WriteString(", ")
		}
		renderValue(b, f, l.Get(i))
	}
	if l.Len() > most {
		fmt.Fprintf(b, ", ... %d in all", l.Len())
	}
	b.WriteByte(']')
}

func renderValue(b *strings.Builder, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	const most = 60
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		renderMessage(b, v.Message())
	case protoreflect.StringKind:
		if text := v.String(); len(text) > most {
			fmt.Fprintf(b, "<%d bytes>", len(text))
		} else {
			fmt.Fprintf(b, "%q", text)
		}
	case protoreflect.BytesKind:
		if raw := v.Bytes(); len(raw) > most || !utf8.Valid(raw) {
			fmt.Fprintf(b, "<%d bytes>", len(raw))
		} else {
			fmt.Fprintf(b, "%q", raw)
		}
	case protoreflect.EnumKind:
		if d := f.Enum().Values().ByNumber(v.Enum()); d != nil {
			b.WriteString(string(d.Name()))
		} else {
			fmt.Fprintf(b, "%d", v.Enum())
		}
	default:
		fmt.Fprint(b, v.Interface())
	}
}
