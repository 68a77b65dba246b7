package admin

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// Errors that a Backend wraps to choose the status of an answer; all others are 503.
var (
	// ErrInvalid means that the request is invalid (400).
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound means that the object does not exist (404).
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the state of the node does not allow the request (409). See Conflict.
	ErrConflict = errors.New("not possible now")
	// ErrTooLarge means that the request is too large (413).
	ErrTooLarge = errors.New("too large")
)

// apiError is the body of every error answer.
type apiError struct {
	status  int
	Message string `json:"error" doc:"What is wrong, where, and what to do, in one line."`
}

// Error implements error.
func (e *apiError) Error() string { return e.Message }

// GetStatus implements huma.StatusError.
func (e *apiError) GetStatus() int { return e.status }

// maxBody bounds the body of a request, in bytes; operations with messages have a larger bound.
const maxBody = 64 << 10

func init() { //nolint:gochecknoinits // huma's error constructor is a variable
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		if status == http.StatusUnprocessableEntity {
			status = http.StatusBadRequest
		}
		var parts []string
		if message != "validation failed" || len(errs) == 0 {
			parts = append(parts, message)
		}
		for _, err := range errs {
			if detail, ok := errors.AsType[*huma.ErrorDetail](err); ok {
				parts = append(parts, strings.TrimPrefix(detail.Location, "body.")+": "+detail.Message)
			} else if err != nil {
				parts = append(parts, err.Error())
			}
		}
		return &apiError{status: status, Message: strings.ReplaceAll(strings.Join(parts, "; "), "\n", " ")}
	}
}

// failed converts an error of a Backend to an answer.
func failed(err error) error {
	return &apiError{status: statusOf(err), Message: strings.ReplaceAll(err.Error(), "\n", "; ")}
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.Is(err, ErrTooLarge):
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusServiceUnavailable
}

// newAPI registers every operation of the API with a mux, and the OpenAPI document that describes them.
func newAPI(b Backend, version string) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("lmqgate", version)
	config.Info.Description = "What a gateway knows and can be told. Every request carries the admin token as \"Authorization: Bearer TOKEN\". " +
		"An answer that is not a success has a body {\"error\": \"...\"}. " +
		"Lists have pages: \"next\" is what to pass as after for the next one."
	config.OpenAPIPath = "/api/v1/openapi"
	config.DocsPath, config.SchemasPath = "", ""
	config.CreateHooks, config.Transformers = nil, nil // no links to schemas in answers
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "The admin token."}}
	config.Security = []map[string][]string{{"token": {}}}
	api := humago.New(mux, config)
	registerNode(api, b)
	registerTopics(api, b)
	registerClients(api, b)
	registerGroups(api, b)
	registerTrace(api, b)
	registerLimits(api, b)
	registerBackup(api, b)
	registerMessages(api, b)
	registerBans(api, b)
	mux.HandleFunc("GET /api/v1/{$}", describe(api))
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusNotFound, &apiError{Message: "not found: " + r.Method + " " + r.URL.Path + "; /api/v1/ lists what there is"})
	})
	return mux
}

// operation describes one operation. Operations without an output body answer 204.
func operation(id, method, path, tag, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: "/api/v1" + path, Tags: []string{tag}, Summary: summary, MaxBodyBytes: maxBody}
}

// PageInput is the input of a list. It is exported because huma reads only exported fields.
type PageInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"How many to return."`
	After string `query:"after" doc:"Where to go on: the \"next\" of the page before."`
}

// Page selects a part of a list.
type Page struct {
	// After is the key of the last item of the previous page; empty for the first page.
	After string
	// Limit is how many items to return, 1 to 10,000.
	Limit int
}

func (p PageInput) page() Page { return Page{After: p.After, Limit: p.Limit} }

// noContent is the output of an operation without a result.
type noContent struct{}
