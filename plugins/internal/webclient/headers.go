package webclient

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// nameMarks are the characters that header names may contain besides letters and digits (RFC 9110, section 5.6.2).
const nameMarks = "!#$%&'*+-.^_`|~"

// CheckHeaders returns an error that names a configured header that cannot be sent, or nil. It reveals no header value.
func CheckHeaders(headers map[string]string) error {
	for name, value := range headers {
		for _, r := range name {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(nameMarks, r) {
				return fmt.Errorf("%q is no name of an HTTP header", name)
			}
		}
		switch {
		case name == "":
			return errors.New("a header lacks a name")
		case strings.ContainsAny(value, "\r\n\x00"):
			return fmt.Errorf("the value of %s has a line end in it", name)
		case strings.EqualFold(name, "Content-Length"), strings.EqualFold(name, "Transfer-Encoding"), strings.EqualFold(name, "Connection"):
			return fmt.Errorf("%s is not for you to set", name)
		}
	}
	return nil
}

// Headers turns headers from the configuration into those of a request.
func Headers(headers map[string]string) http.Header {
	out := make(http.Header, len(headers))
	for name, value := range headers {
		out.Set(name, value)
	}
	return out
}
