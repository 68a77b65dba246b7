package remoting

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RocketMQ's ACL signs with HMAC-SHA1
	"encoding/base64"
	"slices"
)

// Credentials sign requests to servers with RocketMQ's ACL. The zero value signs nothing.
type Credentials struct {
	AccessKey string
	SecretKey string
	// SecurityToken is for temporary credentials; usually empty.
	SecurityToken string
}

// Names of the fields of a signed request.
const (
	fieldAccessKey     = "AccessKey"
	fieldSignature     = "Signature"
	fieldSecurityToken = "SecurityToken"
)

// sign adds the credentials and the signature to the request: Base64 of HMAC-SHA1, keyed with the secret key, over the
// values of all fields in the order of their names, then the body.
func (cr Credentials) sign(c *Command) {
	if cr.AccessKey == "" || cr.SecretKey == "" {
		return
	}
	if c.Ext == nil {
		c.Ext = make(map[string]string, 3)
	}
	delete(c.Ext, fieldSignature)
	c.Ext[fieldAccessKey] = cr.AccessKey
	if cr.SecurityToken != "" {
		c.Ext[fieldSecurityToken] = cr.SecurityToken
	}
	names := make([]string, 0, len(c.Ext))
	for k := range c.Ext {
		names = append(names, k)
	}
	slices.Sort(names)
	mac := hmac.New(sha1.New, []byte(cr.SecretKey))
	for _, k := range names {
		mac.Write([]byte(c.Ext[k]))
	}
	mac.Write(c.Body)
	c.Ext[fieldSignature] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
