package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lmqgate/lmqgate/internal/exposed"
)

// minToken is the minimum length of a token, in bytes: 16 random letters and digits have over 80 bits.
const minToken = 16

var (
	// secretPattern matches the names of secret keys, also in plugin blocks, whose keys the gateway does not know.
	secretPattern   = regexp.MustCompile(`(^|[._])(secret|password|passwd|token|headers)([._]|$)`)
	secretNot       = regexp.MustCompile(`_(file|path|url|claim|ttl)$`)
	secretSections  = []string{"admin", "store", "auth.config", "meta.config", "meta.next.config"}
	userinfoPattern = regexp.MustCompile(`://[^/@\s]*:[^/@\s]+@`)
)

// isSecret reports whether a value in a file must not be readable by others. The demo user's secret is public anyway.
func isSecret(key, value string) bool {
	if value == "" || value == DemoSecret {
		return false
	}
	inside := slices.ContainsFunc(secretSections, func(s string) bool { return strings.HasPrefix(key, s+".") })
	return inside && (secretPattern.MatchString(key) && !secretNot.MatchString(key) || userinfoPattern.MatchString(value))
}

// CheckPrivate reports, as an *Error, the files with secrets that every user of the machine may read: the configuration file itself, if it
// contains secrets, and private keys. A file's group may read it. Call it when running the gateway; commands that only read a configuration
// need not.
func (c *Config) CheckPrivate() error {
	var p problems
	p.where = c.Where
	if len(c.secretKeys) > 0 && exposed.ToOthers(c.Path) {
		p.list = append(p.list, Problem{Where: c.Path, Message: fmt.Sprintf("every user of this machine may read the secrets in it (%s); run: chmod o-rwx %s, or give them in environment variables",
			strings.Join(c.secretKeys[:min(3, len(c.secretKeys))], ", "), c.Path)})
	}
	check := func(key, path string) {
		if path == "" {
			return
		}
		if err := exposed.PrivateKey(path); err != nil {
			p.add(key, "%s", err)
		}
	}
	for i, l := range c.Listeners {
		if l.Type.Encrypted() {
			check("listeners["+strconv.Itoa(i)+"].key_file", l.KeyFile)
		}
	}
	check("admin.key_file", c.Admin.KeyFile)
	if c.Store.Type == StoreRocketMQ && c.Store.RocketMQ.TLS.Enabled {
		check("store.rocketmq.tls.key_file", c.Store.RocketMQ.TLS.KeyFile)
	}
	return p.err()
}
