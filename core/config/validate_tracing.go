package config

import (
	"net/url"
	"strconv"
)

func (c *Config) validateTracing(p *problems) {
	t := c.Tracing
	if !(t.Ratio >= 0 && t.Ratio <= 1) { // also if it is not a number
		p.add("tracing.ratio", "%s is out of range; it wants 0 to 1", strconv.FormatFloat(t.Ratio, 'f', -1, 64))
	}
	between(p, "tracing.span_rate", int64(t.SpanRate), 1, 1_000_000)
	if t.Endpoint == "" {
		return
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || !validPort(u.Port()) || u.Port() == "0" ||
		u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		p.add("tracing.endpoint", "%s wants http://host:port or https://host:port, such as http://127.0.0.1:4317", quote(t.Endpoint))
	case u.Port() == "4318":
		p.add("tracing.endpoint", "port 4318 is for OTLP over HTTP; spans are sent over gRPC, for which collectors listen on 4317")
	}
}
