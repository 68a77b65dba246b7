package remoting

import (
	"context"
	"strings"
)

// BrokerSettings reads a broker's configuration, by name. In a cluster with ACL it may be readable by administrators only.
func (c *Client) BrokerSettings(ctx context.Context, broker string) (map[string]string, error) {
	resp, err := c.do(ctx, broker, &Command{Code: CodeBrokerSettings})
	if err != nil {
		return nil, err
	}
	return parseSettings(string(resp.Body)), nil
}

// parseSettings parses lines of Java properties files, as brokers write them.
func parseSettings(text string) map[string]string {
	settings := make(map[string]string)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, value, ok := strings.Cut(line, "=")
		if ok && name != "" && name[0] != '#' {
			settings[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return settings
}
