package remoting

import (
	"context"
	"encoding/json"
	"fmt"
)

// PutKVConfig sets a value in one namesrv's configuration table. Namesrvs do not replicate the table to each other.
func (c *Client) PutKVConfig(ctx context.Context, namesrv, namespace, key, value string) error {
	_, err := c.do(ctx, namesrv, &Command{Code: CodePutKVConfig, Ext: map[string]string{
		"namespace": namespace, "key": key, "value": value,
	}})
	return err
}

// GetKVConfig reads a value from one namesrv's configuration table; found is false when it has none.
func (c *Client) GetKVConfig(ctx context.Context, namesrv, namespace, key string) (value string, found bool, err error) {
	resp, err := c.do(ctx, namesrv, &Command{Code: CodeGetKVConfig, Ext: map[string]string{
		"namespace": namespace, "key": key,
	}}, QueryNotFound)
	if err != nil || resp.Code == QueryNotFound {
		return "", false, err
	}
	return resp.Ext["value"], true, nil
}

// DeleteKVConfig removes a value from one namesrv's configuration table. An absent key is not an error.
func (c *Client) DeleteKVConfig(ctx context.Context, namesrv, namespace, key string) error {
	_, err := c.do(ctx, namesrv, &Command{Code: CodeDeleteKVConfig, Ext: map[string]string{
		"namespace": namespace, "key": key,
	}})
	return err
}

// ListKVConfig reads all values of a namespace of one namesrv's configuration table; empty, not nil, when there are none.
func (c *Client) ListKVConfig(ctx context.Context, namesrv, namespace string) (map[string]string, error) {
	resp, err := c.do(ctx, namesrv, &Command{Code: CodeListKVConfig, Ext: map[string]string{
		"namespace": namespace,
	}}, QueryNotFound)
	if err != nil {
		return nil, err
	}
	if resp.Code == QueryNotFound || len(resp.Body) == 0 {
		return map[string]string{}, nil
	}
	var list struct {
		Table map[string]string `json:"table"`
	}
	if err := json.Unmarshal(standardJSON(resp.Body), &list); err != nil {
		return nil, fmt.Errorf("%w: configuration list of %s: %w", ErrMalformed, namesrv, err)
	}
	if list.Table == nil {
		list.Table = map[string]string{}
	}
	return list.Table, nil
}
