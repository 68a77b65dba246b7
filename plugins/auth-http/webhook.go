package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lmqgate/lmqgate/plugins/internal/webclient"
)

// pause is the delay before a retry.
const pause = 50 * time.Millisecond

// asker is implemented by webclient.Client.
type asker interface {
	Do(ctx context.Context, method, target string, header http.Header, body []byte) (*webclient.Answer, error)
	Close()
}

// webhook asks the web service.
type webhook struct {
	client  asker
	header  http.Header
	timeout time.Duration
	health  *health
}

// ask posts a request and decodes the answer. Anything but status 200 with a well-formed answer is an error with code UNAVAILABLE: then
// nobody is admitted, and nothing is allowed.
//
// A request is retried once, if time is left, when no server has seen it. A repeatable request is also retried when the connection broke or
// the server answered 502, 503 or 504.
func (w *webhook) ask(ctx context.Context, target string, question, answer any, repeatable bool) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	body, err := json.Marshal(question)
	if err != nil {
		return nil, status.Error(codes.Internal, "the question cannot be written as JSON")
	}
	a, err := w.post(ctx, target, body)
	if ctx.Err() == nil && (errors.Is(err, webclient.ErrNotSent) || repeatable && passing(a, err)) {
		select {
		case <-time.After(pause):
			a, err = w.post(ctx, target, body)
		case <-ctx.Done():
		}
	}
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("the answer has the status %d, not 200", a.Status)
	}
	if err == nil {
		err = decode(a.Body, answer)
	}
	w.health.called(err)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "the webhook: %v", err)
	}
	return a.Header, nil
}

func (w *webhook) post(ctx context.Context, target string, body []byte) (*webclient.Answer, error) {
	return w.client.Do(ctx, http.MethodPost, target, w.header, body)
}

// passing reports whether the failure is transient, so that a retry may succeed.
func passing(a *webclient.Answer, err error) bool {
	if err != nil {
		return true
	}
	return a.Status == http.StatusBadGateway || a.Status == http.StatusServiceUnavailable || a.Status == http.StatusGatewayTimeout
}

// keep returns how long an answer may be cached (RFC 9111), between 0 and most; without Cache-Control it returns usual.
func keep(h http.Header, usual, most time.Duration) time.Duration {
	directives := h.Values("Cache-Control")
	if len(directives) == 0 {
		return min(usual, most)
	}
	var age, result time.Duration
	for d := range strings.SplitSeq(strings.Join(directives, ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			result = seconds(strings.Trim(value, `"`))
		}
	}
	if text := h.Get("Age"); text != "" {
		age = seconds(text)
	}
	return max(0, min(result-age, most))
}

// seconds parses a number of seconds; anything else is 0.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return time.Duration(n) * time.Second
}
